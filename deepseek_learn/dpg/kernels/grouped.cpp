// Products of tokens with the matrices of their experts: y[i] = W[e] x[i] for the tokens of each
// expert e, which follow each other, loads[e] of them. One call for all experts.
//
// A few tokens for each of many matrices read every weight once and use it a few times, so time
// goes into reading them. A product that first copies a matrix into another layout, as those of
// general libraries do, reads and writes it once more.

namespace {

// Arithmetic on 16 floats; compilers split it where registers are shorter.
typedef float Lanes __attribute__((vector_size(64)));

// R rows of a matrix with M tokens. The weights of a row are used M times while they are in
// registers, and the order of the additions does not depend on R or M.
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
  for (int r = 0; r < R; r++)
    for (int m = 0; m < M; m++) {
      float half[8];
      for (int i = 0; i < 8; i++) half[i] = sums[r][m][i] + sums[r][m][i + 8];
      for (int width = 4; width; width /= 2)
        for (int i = 0; i < width; i++) half[i] += half[i + width];
      for (int64_t rest = k; rest < columns; rest++)
        half[0] += weight[r * columns + rest] * x[m * columns + rest];
      y[m * rows + r] = half[0];
    }
}

template <int R>
INLINE void multiply_rows(const float* weight, const float* x, int64_t tokens, int64_t columns,
                          float* y, int64_t rows) {
  int64_t m = 0;
  for (; m + 4 <= tokens; m += 4)
    multiply_tile<R, 4>(weight, x + m * columns, columns, y + m * rows, rows);
  x += m * columns, y += m * rows;
  if (tokens - m == 3) multiply_tile<R, 3>(weight, x, columns, y, rows);
  if (tokens - m == 2) multiply_tile<R, 2>(weight, x, columns, y, rows);
  if (tokens - m == 1) multiply_tile<R, 1>(weight, x, columns, y, rows);
}

// The outputs first .. last-1 of one expert for its tokens.
EACH_LEVEL void multiply_expert(const float* weight, const float* x, int64_t tokens,
                                int64_t columns, float* y, int64_t rows, int64_t first,
                                int64_t last) {
  int64_t row = first;
  for (; row + 2 <= last; row += 2)
    multiply_rows<2>(weight + row * columns, x, tokens, columns, y + row, rows);
  if (row < last) multiply_rows<1>(weight + row * columns, x, tokens, columns, y + row, rows);
}

}  // namespace

extern "C" {

// x [Σ loads, columns], weight [experts, rows, columns], y [Σ loads, rows]. `starts` has one number
// more than there are experts: the tokens of expert e are starts[e] .. starts[e+1]-1.
void grouped_float(const float* x, const int64_t* starts, int64_t experts, const float* weight,
                   int64_t rows, int64_t columns, float* y, [[maybe_unused]] int threads) {
  const int64_t block = 64, blocks = (rows + block - 1) / block;
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(dynamic, 4)
#endif
  for (int64_t task = 0; task < experts * blocks; task++) {
    const int64_t e = task / blocks, first = task % blocks * block, start = starts[e];
    if (starts[e + 1] == start) continue;
    multiply_expert(weight + e * rows * columns, x + start * columns, starts[e + 1] - start,
                    columns, y + start * rows, rows, first, std::min(first + block, rows));
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
