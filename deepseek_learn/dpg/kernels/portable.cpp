// What any processor can do: round activations to bytes, expand planes to bytes, and multiply
// them (level 0). Included by planes.cpp, as are the files of the other levels.

namespace {

// ---- Activations -------------------------------------------------------------------------

// The compiler vectorizes these loops and creates one version for each instruction set.
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
#define EACH_LEVEL __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EACH_LEVEL
#endif

// Computes x8, and for each group its sx and the sum of its x8, for one row of x. In a group that
// contains NaN or Inf, sx is NaN, so all outputs of the row are NaN.
EACH_LEVEL void quantize_row(const float* x, int64_t K, int64_t padded_K, int64_t G, int8_t* x8,
                             float* sx, float* group_sums, int64_t sx_stride) {
  const float integers = 12582912.0f;  // 1.5 * 2^23; adding it rounds to integers, ties to even
  std::memset(x8, 0, padded_K);
  for (int64_t g = 0; g < padded_K / G; g++, x += G, x8 += G) {
    const int64_t n = std::min(G, std::max<int64_t>(K - g * G, 0));
    int32_t largest = 0;  // bits of |x| compare like integers; Inf and NaN are the largest
    for (int64_t k = 0; k < n; k++) {
      int32_t bits;
      std::memcpy(&bits, x + k, 4);
      largest = std::max(largest, bits & 0x7fffffff);
    }
    float magnitude;
    std::memcpy(&magnitude, &largest, 4);
    const bool finite = largest < 0x7f800000;
    const float step = std::max(magnitude / 127.0f, FLT_MIN);  // a subnormal step is inexact
    int32_t sum = 0;
    for (int64_t k = 0; finite && k < n; k++) {
      const int32_t integer = int32_t((x[k] / step + integers) - integers);
      x8[k] = int8_t(integer), sum += integer;
    }
    sx[g * sx_stride] = finite ? step : NAN, group_sums[g * sx_stride] = float(sum);
  }
}

// ---- Expanding planes to bytes -----------------------------------------------------------

// All prefixes of the splits that are stored, such as 3 = 2+1, 5 = 4+1, 7 = 4+2+1 and 8 = 4+4.
#define EACH_COMBINATION(DO) \
  DO(1, 0, 0) DO(2, 0, 0) DO(2, 1, 0) DO(4, 0, 0) DO(4, 1, 0) DO(4, 2, 0) DO(4, 2, 1) DO(4, 4, 0)

constexpr int combination(int a, int b, int c) { return 100 * a + 10 * b + c; }
inline int combination(const int32_t* w) { return combination(w[0], w[1], w[2]); }

// The 32 values of k are processed in 8 steps of 4. The codes of step j are in line j / P of a
// plane. A right shift by `shift` (a left shift if it is negative) moves them to bit `low`, and
// `mask` clears the bits of the neighboring codes.
constexpr int line_of(int width, int j) { return LINE * (j / (8 / width)); }
constexpr int shift(int width, int low, int j) { return width * (j % (8 / width)) - low; }
constexpr int mask(int width, int low) { return ((1 << width) - 1) << low; }

template <int WIDTH, int LOW>
INLINE uint64_t field(const uint8_t* plane, int j) {  // 8 bytes of the line
  if constexpr (WIDTH > 0) {
    uint64_t word;
    std::memcpy(&word, plane + line_of(WIDTH, j), 8);
    const int right = shift(WIDTH, LOW, j);
    return (right > 0 ? word >> right : word << -right) & (mask(WIDTH, LOW) * 0x0101010101010101u);
  }
  return 0;
}

// This function is inlined into one function per level and vectorized for that level's target.
template <int A, int B, int C>
INLINE void expand_planes(const Tile& t, uint8_t* __restrict codes) {
  const uint8_t *a = t.planes[0], *b = t.planes[1], *c = t.planes[2];
  for (int64_t k = 0; k < t.groups * t.G; k += 32, a += LINE * A, b += LINE * B, c += LINE * C) {
    UNROLL
    for (int j = 0; j < 8; j++, codes += LINE)
      for (int i = 0; i < LINE; i += 8) {
        const uint64_t code =
            field<A, B + C>(a + i, j) | field<B, C>(b + i, j) | field<C, 0>(c + i, j);
        std::memcpy(codes + i, &code, 8);
      }
  }
}

INLINE void expand_any(const Tile& t, uint8_t* codes) {
#define CASE(A, B, C) \
  case combination(A, B, C): return expand_planes<A, B, C>(t, codes);
  switch (combination(t.widths)) { EACH_COMBINATION(CASE) }
#undef CASE
}

// ---- Level 0: any processor --------------------------------------------------------------

void expand_portable(const Tile& t, uint8_t* codes) { expand_any(t, codes); }

// Computes plain sums of 16-bit products, which compilers can vectorize for every target.
void dense_portable(const Tile& t, int rows) {
  for (int64_t g = 0; g < t.groups; g++) {
    int16_t code[ROWS][128], x8[128];
    for (int64_t k = 0; k < t.G; k += 4)
      for (int r = 0; r < ROWS; r++)
        for (int lane = 0; lane < 4; lane++)
          code[r][k + lane] = t.codes[ROWS * (g * t.G + k) + 4 * r + lane];
    for (int m = 0; m < rows; m++) {
      for (int64_t k = 0; k < t.G; k++) x8[k] = t.x8[m * t.x8_stride + g * t.G + k];
      const float offset = t.zero * t.group_sums[g * t.sx_stride + m];
      int32_t sum[ROWS] = {};
      for (int r = 0; r < ROWS; r++)
        for (int64_t k = 0; k < t.G; k++) sum[r] += code[r][k] * x8[k];
      for (int r = 0; r < ROWS; r++) {
        const uint32_t bits = uint32_t(t.scale[g * t.scale_stride + r]) << 16;
        float scale;
        std::memcpy(&scale, &bits, 4);
        // the difference is exact (< 24 bits)
        t.result[m][r] += scale * t.sx[g * t.sx_stride + m] * (float(sum[r]) - offset);
      }
    }
  }
}

}  // namespace
