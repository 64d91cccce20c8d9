// Products of tokens with the matrices of their experts: y[i] = W[e] x[i] for the tokens of each
// expert e, which follow each other, loads[e] of them. One call for all experts.
//
// A few tokens for each of many matrices read every weight once and use it a few times, so time
// goes into reading them. A product that first copies a matrix into another layout, as those of
// general libraries do, reads and writes it once more.

namespace {

// Arithmetic on 16 floats; compilers split it where registers are shorter.
typedef float Lanes __attribute__((vector_size(64)));
typedef float Half __attribute__((vector_size(32)));
typedef float Quarter __attribute__((vector_size(16)));

// Adds the numbers i, i + 4, i + 8 and i + 12.
INLINE Quarter quarter(const Lanes& sums) {
  Half halves[2];
  std::memcpy(halves, &sums, sizeof sums);
  const Half half = halves[0] + halves[1];
  Quarter quarters[2];
  std::memcpy(quarters, &half, sizeof half);
  return quarters[0] + quarters[1];
}

INLINE float total(const Quarter& a) { return (a[0] + a[2]) + (a[1] + a[3]); }

// `total` of four at once.
INLINE Quarter totals(const Quarter& a, const Quarter& b, const Quarter& c, const Quarter& d) {
  const Quarter ab = Quarter{a[0], a[1], b[0], b[1]} + Quarter{a[2], a[3], b[2], b[3]};
  const Quarter cd = Quarter{c[0], c[1], d[0], d[1]} + Quarter{c[2], c[3], d[2], d[3]};
  return Quarter{ab[0], ab[2], cd[0], cd[2]} + Quarter{ab[1], ab[3], cd[1], cd[3]};
}

// R rows (4 or 1) of a matrix with M tokens. The weights of a row are used M times while they are
// in registers, and the order of the additions does not depend on R or M.
template <int R, int M>
INLINE void multiply_tile(const float* weight, const float* x, int64_t columns, float* y,
                          int64_t rows) {
  Lanes sums[R][M] = {};
  int64_t k = 0;
  for (; k + 16 <= columns; k += 16) {
    Lanes w[R];
    UNROLL
    for (int r = 0; r < R; r++) {
      const float* from = weight + r * columns + k;
      std::memcpy(&w[r], from, sizeof w[r]);
      __builtin_prefetch(from + AHEAD / sizeof *from, 0, 2);
    }
    UNROLL
    for (int m = 0; m < M; m++) {
      Lanes token;
      std::memcpy(&token, x + m * columns + k, sizeof token);
      UNROLL
      for (int r = 0; r < R; r++) sums[r][m] += w[r] * token;
    }
  }
  UNROLL
  for (int m = 0; m < M; m++) {
    Quarter quarters[R];
    UNROLL
    for (int r = 0; r < R; r++) quarters[r] = quarter(sums[r][m]);
    float out[R];
    if constexpr (R == 4) {
      const Quarter four = totals(quarters[0], quarters[1], quarters[2], quarters[3]);
      std::memcpy(out, &four, sizeof out);
    } else {
      out[0] = total(quarters[0]);
    }
    for (int r = 0; r < R; r++) {
      for (int64_t rest = k; rest < columns; rest++)
        out[r] += weight[r * columns + rest] * x[m * columns + rest];
      y[m * rows + r] = out[r];
    }
  }
}

template <int R, int MOST>
INLINE void multiply_rows(const float* weight, const float* x, int64_t tokens, int64_t columns,
                          float* y, int64_t rows) {
  for (; tokens >= MOST; tokens -= MOST, x += MOST * columns, y += MOST * rows)
    multiply_tile<R, MOST>(weight, x, columns, y, rows);
  if (tokens == 5 && MOST > 5) multiply_tile<R, 5>(weight, x, columns, y, rows);
  if (tokens == 4 && MOST > 4) multiply_tile<R, 4>(weight, x, columns, y, rows);
  if (tokens == 3 && MOST > 3) multiply_tile<R, 3>(weight, x, columns, y, rows);
  if (tokens == 2 && MOST > 2) multiply_tile<R, 2>(weight, x, columns, y, rows);
  if (tokens == 1) multiply_tile<R, 1>(weight, x, columns, y, rows);
}

// The outputs first .. last-1 of one expert for its tokens, at most MOST of them at once.
template <int MOST>
INLINE void multiply_outputs(const float* weight, const float* x, int64_t tokens, int64_t columns,
                             float* y, int64_t rows, int64_t first, int64_t last) {
  int64_t row = first;
  for (; row + 4 <= last; row += 4)
    multiply_rows<4, MOST>(weight + row * columns, x, tokens, columns, y + row, rows);
  for (; row < last; row++)
    multiply_rows<1, MOST>(weight + row * columns, x, tokens, columns, y + row, rows);
}

EACH_LEVEL void multiply_expert(const float* weight, const float* x, int64_t tokens,
                                int64_t columns, float* y, int64_t rows, int64_t first,
                                int64_t last) {
  multiply_outputs<2>(weight, x, tokens, columns, y, rows, first, last);
}

#if defined(__x86_64__)
// From level 2 on. Four rows and six tokens take 29 of the 32 registers of 16 floats.
__attribute__((target("avx512f"))) void multiply_expert_wide(
    const float* weight, const float* x, int64_t tokens, int64_t columns, float* y, int64_t rows,
    int64_t first, int64_t last) {
  multiply_outputs<6>(weight, x, tokens, columns, y, rows, first, last);
}
#else
constexpr auto multiply_expert_wide = multiply_expert;
#endif

}  // namespace

extern "C" {

// x [Σ loads, columns], weight [experts, rows, columns], y [Σ loads, rows]. `starts` has one number
// more than there are experts: the tokens of expert e are starts[e] .. starts[e+1]-1. `level` is at
// most `dpg_level()`.
void grouped_float(const float* x, const int64_t* starts, int64_t experts, const float* weight,
                   int64_t rows, int64_t columns, float* y, int level,
                   [[maybe_unused]] int threads) {
  const int64_t block = 64, blocks = (rows + block - 1) / block;
  const auto multiply = level >= 2 ? multiply_expert_wide : multiply_expert;
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 4)
#endif
  for (int64_t task = 0; task < experts * blocks; task++) {
    const int64_t e = task / blocks, first = task % blocks * block, start = starts[e];
    if (starts[e + 1] == start) continue;
    multiply(weight + e * rows * columns, x + start * columns, starts[e + 1] - start, columns,
             y + start * rows, rows, first, std::min(first + block, rows));
  }
}

// The same with packed matrices of one size: segments[e] has counts[e] elements. `scratch` has
// room for each thread, `scratch_bytes` for one. Returns the first error of `dpg_linear`.
int grouped_packed(const float* x, const int64_t* starts, int64_t experts,
                   const dpg_segment* const* segments, const int64_t* counts, int64_t columns,
                   int64_t padded_columns, int64_t G, float* y, int64_t rows, char* scratch,
                   [[maybe_unused]] int64_t scratch_bytes, int level,
                   [[maybe_unused]] int threads) {
  int error = 0;
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic)
#endif
  for (int64_t e = 0; e < experts; e++) {
    const int64_t start = starts[e], tokens = starts[e + 1] - start;
    if (tokens == 0) continue;
#if defined(_OPENMP)
    char* own = scratch + omp_get_thread_num() * scratch_bytes;
#else
    char* own = scratch;
#endif
    const int failed =
        dpg_linear(x + start * columns, columns, tokens, columns, padded_columns, G, segments[e],
                   counts[e], nullptr, y + start * rows, rows, own, level, 1);
    if (failed) error = failed;
  }
  return error;
}
}
