// Dynamic parameter grouping on a CPU. Multiplies float activations by weights that are stored
// as integer codes in bit planes:
//
//   y[m, n] = step Σ_g scale[g, n] sx[m, g] ( Σ_k code[n, k] x8[m, k] - zero Σ_k x8[m, k] )
//
// Here, k runs over the columns of group g. The activations are quantized to signed bytes,
// x8 = round(x / sx) with sx[m, g] = max_k |x[m, k]| / 127. The codes are unsigned integers of 1
// to 8 bits. They are split into planes of 4, 2 and 1 bits, and the plane with the highest bits
// comes first.
//
// A plane of width p has the layout [N/16][K/(4P)][16][4] bytes with P = 8/p. The byte
// for (row, lane) stores the code for k = 4P*line + 4*j + lane at bit p*j. A line has 64 bytes,
// so 16 rows and 32 values of k take p lines. A single shift and mask turns a line into one byte
// for each of 16 rows and 4 values of k, which is the operand of a dot-product instruction.
// Where that instruction may take values of 8 bits (level 2), one row of x multiplies the codes of
// a plane without moving all of them to bit 0 (see `add_products`).
//
// All instruction sets compute the same integers and add the same floats in the same order.
// Their results are identical bit for bit, and the result for a row depends only on that row.
// Compile with -ffp-contract=off, because fused multiply-add instructions round differently.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#if defined(__linux__) && (__has_include(<amxint8intrin.h>) || __has_include(<amxintrin.h>))
#define DPG_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE inline __attribute__((always_inline))

extern "C" {
typedef struct {
  const uint8_t* planes[3];
  const uint16_t* scale;  // bfloat16, [K/G][rows]
  const int32_t* order;   // output column of each stored row; -1 for a padding row
  int64_t rows;           // a multiple of 16
  int32_t widths[3];      // 4, 2 or 1; 0 if the plane is absent or unused
  int32_t accumulate;     // whether to add to y instead of overwriting it
  float step, zero;       // value = step * (code - zero) * scale
} dpg_segment;
}

namespace {

constexpr int ROWS = 16, LINE = 64;  // a line of a plane: 16 weight rows, 64 bytes
constexpr int PANEL = 64;    // activation rows for which the codes are expanded once
constexpr int CHUNK = 1024;  // values of k expanded at a time: 16 KiB of codes fit in L1
constexpr int AHEAD = 8192;  // bytes between what is read and what is prefetched into L2
constexpr int FEW = 4;       // for at most this many rows of x, codes stay in registers

// A product of 16 weight rows and some activation rows, over a range of groups.
struct Tile {
  const int32_t* widths;
  const uint8_t* planes[3];  // starting at the first k
  const uint8_t* codes;      // [k/4][16][4] bytes, if the planes have been expanded
  const uint16_t* scale;     // [groups][scale_stride], starting at the first weight row
  const int8_t* x8;          // [activation rows][x8_stride], starting at the first k
  const float *sx, *group_sums;  // [activation rows][sx_stride], starting at the first group
  int64_t scale_stride, x8_stride, sx_stride, groups, G;
  float zero;
  float (*result)[ROWS];  // [activation rows][16], the sum over g in the equation
};

struct Level {
  void (*expand)(const Tile&, uint8_t* codes);   // converts planes to codes in bytes
  void (*dense)(const Tile&, int rows);          // multiplies codes by up to PANEL rows of x
  void (*from_planes)(const Tile&, int rows);    // multiplies planes by up to FEW rows; or null
};

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
                             float* sx, float* group_sums) {
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
    sx[g] = finite ? step : NAN, group_sums[g] = float(sum);
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
      const float offset = t.zero * t.group_sums[m * t.sx_stride + g];
      int32_t sum[ROWS] = {};
      for (int r = 0; r < ROWS; r++)
        for (int64_t k = 0; k < t.G; k++) sum[r] += code[r][k] * x8[k];
      for (int r = 0; r < ROWS; r++) {
        const uint32_t bits = uint32_t(t.scale[g * t.scale_stride + r]) << 16;
        float scale;
        std::memcpy(&scale, &bits, 4);
        // the difference is exact (< 24 bits)
        t.result[m][r] += scale * t.sx[m * t.sx_stride + g] * (float(sum[r]) - offset);
      }
    }
  }
}

#if defined(__x86_64__)
inline int32_t four(const int8_t* x8) {
  int32_t word;
  std::memcpy(&word, x8, 4);
  return word;
}

// ---- Level 1: AVX2 -----------------------------------------------------------------------
#define AVX2 __attribute__((target("avx2")))

AVX2 void expand_avx2(const Tile& t, uint8_t* codes) { expand_any(t, codes); }

// maddubs adds two products in 16 bits, and 2 * 127 * 127 does not overflow. 8-bit codes are
// larger, so they are multiplied one nibble at a time.
template <bool NIBBLES>
AVX2 inline __m256i dot_avx2(__m256i sum, __m256i code, __m256i x) {
  if constexpr (NIBBLES) {
    const __m256i nibble = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi16(16);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(code, 4), nibble);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(high, x), sixteen));
    code = _mm256_and_si256(code, nibble);
  }
  const __m256i pairs = _mm256_maddubs_epi16(code, x);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Adds the integer sums of one group, those of weight rows 0..7 and 8..15, to the results.
template <int M>
AVX2 inline void add_group_avx2(const Tile& t, const __m256i (&sum)[2][M], int first, int64_t g) {
  for (int half = 0; half < 2; half++) {
    const uint16_t* bits = t.scale + g * t.scale_stride + 8 * half;
    __builtin_prefetch(bits + 2 * ROWS, 0, 2);  // as in load_scale
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bits));
    const __m256 scale =
        _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(packed), 16));
    for (int m = 0; m < M; m++) {
      float* result = t.result[first + m] + 8 * half;
      const int64_t of_group = (first + m) * t.sx_stride + g;
      const float offset = t.zero * t.group_sums[of_group];
      const __m256 value =
          _mm256_sub_ps(_mm256_cvtepi32_ps(sum[half][m]), _mm256_set1_ps(offset));
      const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(t.sx[of_group]));
      const __m256 old = _mm256_loadu_ps(result);
      _mm256_storeu_ps(result, _mm256_add_ps(old, _mm256_mul_ps(factor, value)));
    }
  }
}

template <bool NIBBLES, int M>
AVX2 void tile_avx2(const Tile& t, int first) {
  const int8_t* x8 = t.x8 + first * t.x8_stride;
  for (int64_t g = 0; g < t.groups; g++) {
    __m256i sum[2][M];  // weight rows 0..7 and 8..15
    for (auto& half : sum)
      for (auto& s : half) s = _mm256_setzero_si256();
    for (int64_t k = g * t.G; k < (g + 1) * t.G; k += 4) {
      const __m256i* code = reinterpret_cast<const __m256i*>(t.codes + ROWS * k);
      const __m256i upper = _mm256_load_si256(code), lower = _mm256_load_si256(code + 1);
      UNROLL
      for (int m = 0; m < M; m++) {
        const __m256i x = _mm256_set1_epi32(four(x8 + m * t.x8_stride + k));
        sum[0][m] = dot_avx2<NIBBLES>(sum[0][m], upper, x);
        sum[1][m] = dot_avx2<NIBBLES>(sum[1][m], lower, x);
      }
    }
    add_group_avx2<M>(t, sum, first, g);
  }
}

template <bool NIBBLES>
void rows_avx2(const Tile& t, int rows) {
  int m = 0;
  for (; m + 4 <= rows; m += 4) tile_avx2<NIBBLES, 4>(t, m);
  for (; m + 2 <= rows; m += 2) tile_avx2<NIBBLES, 2>(t, m);
  if (m < rows) tile_avx2<NIBBLES, 1>(t, m);
}

void dense_avx2(const Tile& t, int rows) {
  const bool eight_bits = t.widths[0] + t.widths[1] + t.widths[2] == 8;
  eight_bits ? rows_avx2<true>(t, rows) : rows_avx2<false>(t, rows);
}

template <int WIDTH, int LOW>
AVX2 inline __m256i field_avx2(const uint8_t* plane, int j) {
  if constexpr (WIDTH == 0) return _mm256_setzero_si256();
  else {
    const uint8_t* from = plane + line_of(WIDTH, j);
    const __m256i line = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const int right = shift(WIDTH, LOW, j);
    return _mm256_and_si256(
        right > 0 ? _mm256_srli_epi16(line, right) : _mm256_slli_epi16(line, -right),
        _mm256_set1_epi8(char(mask(WIDTH, LOW))));
  }
}

// Multiplies planes. Eight sums of two products of a 4-bit code fit in 16 bits, so 32 values of k
// are added before they are widened; of wider codes, the first plane has sums of its own.
template <int A, int B, int C, int M>
AVX2 void planes_avx2(const Tile& t) {
  constexpr bool APART = A + B + C > 4;
  const uint8_t *a = t.planes[0], *b = t.planes[1], *c = t.planes[2];
  const __m256i one = _mm256_set1_epi16(1), weight = _mm256_set1_epi16(1 << (B + C));
  for (int64_t g = 0; g < t.groups; g++) {
    __m256i sum[2][M];
    for (auto& half : sum)
      for (auto& s : half) s = _mm256_setzero_si256();
    for (int64_t k = g * t.G; k < (g + 1) * t.G; k += 32) {
      for (int i = 0; i < A + B + C; i++) {
        const uint8_t* line = i < A ? a + LINE * i : i < A + B ? b + LINE * (i - A) : c;
        __builtin_prefetch(line + AHEAD, 0, 2);
      }
      for (int half = 0; half < 2; half++) {
        const int64_t offset = LINE / 2 * half;
        __m256i high[M], low[M];
        for (auto& s : high) s = _mm256_setzero_si256();
        for (auto& s : low) s = _mm256_setzero_si256();
        UNROLL
        for (int j = 0; j < 8; j++) {
          const __m256i first = field_avx2<A, APART ? 0 : B + C>(a + offset, j);
          __m256i rest = APART ? _mm256_setzero_si256() : first;
          if constexpr (B > 0) rest = _mm256_or_si256(rest, field_avx2<B, C>(b + offset, j));
          if constexpr (C > 0) rest = _mm256_or_si256(rest, field_avx2<C, 0>(c + offset, j));
          UNROLL
          for (int m = 0; m < M; m++) {
            const __m256i x = _mm256_set1_epi32(four(t.x8 + m * t.x8_stride + k + 4 * j));
            if constexpr (APART)
              high[m] = _mm256_add_epi16(high[m], _mm256_maddubs_epi16(first, x));
            low[m] = _mm256_add_epi16(low[m], _mm256_maddubs_epi16(rest, x));
          }
        }
        UNROLL
        for (int m = 0; m < M; m++) {
          if constexpr (APART)
            sum[half][m] = _mm256_add_epi32(sum[half][m], _mm256_madd_epi16(high[m], weight));
          sum[half][m] = _mm256_add_epi32(sum[half][m], _mm256_madd_epi16(low[m], one));
        }
      }
      a += LINE * A, b += LINE * B, c += LINE * C;
    }
    add_group_avx2<M>(t, sum, 0, g);
  }
}

template <int A, int B, int C>
void few_avx2(const Tile& t, int rows) {
  if (rows == 1) planes_avx2<A, B, C, 1>(t);
  if (rows == 2) planes_avx2<A, B, C, 2>(t);
  if (rows == 3) planes_avx2<A, B, C, 3>(t);
  if (rows == 4) planes_avx2<A, B, C, 4>(t);
}

void from_planes_avx2(const Tile& t, int rows) {
#define CASE(A, B, C) \
  case combination(A, B, C): return few_avx2<A, B, C>(t, rows);
  switch (combination(t.widths)) { EACH_COMBINATION(CASE) }
#undef CASE
}

// ---- Level 2: AVX512-VNNI ----------------------------------------------------------------
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

VNNI void expand_vnni(const Tile& t, uint8_t* codes) { expand_any(t, codes); }

VNNI inline __m512 load_scale(const Tile& t, int64_t g) {
  const uint16_t* bits = t.scale + g * t.scale_stride;
  // The scales of consecutive groups are far apart in memory, so prefetch those of the next
  // blocks of rows.
  __builtin_prefetch(bits + 2 * ROWS, 0, 2);
  const __m256i packed = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(packed), 16));
}

VNNI inline __m512 add_group(const Tile& t, __m512 total, __m512i sum, __m512 scale, int64_t m,
                             int64_t g) {
  const int64_t of_group = m * t.sx_stride + g;
  const __m512 offset = _mm512_set1_ps(t.zero * t.group_sums[of_group]);
  const __m512 value = _mm512_sub_ps(_mm512_cvtepi32_ps(sum), offset);
  const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(t.sx[of_group]));
  return _mm512_add_ps(total, _mm512_mul_ps(factor, value));
}

// Multiplies 32 values of k of one plane by M rows of x. The codes are multiplied where they are in
// their bytes: those at bit 0 go into one sum, those at bit WIDTH into another, and the higher ones
// are shifted there.
template <int WIDTH, int M>
VNNI INLINE void add_products(const uint8_t* plane, const int8_t* x8, int64_t x8_stride,
                              __m512i (&sums)[2][M]) {
  constexpr int CODES = (1 << WIDTH) - 1;
  const __m512i masks[2] = {_mm512_set1_epi8(CODES), _mm512_set1_epi8(char(CODES << WIDTH))};
  for (int i = 0; i < WIDTH; i++) __builtin_prefetch(plane + LINE * i + AHEAD, 0, 2);
  UNROLL
  for (int j = 0; j < 8; j += 2) {
    __m512i line = _mm512_loadu_si512(plane + line_of(WIDTH, j));
    if (shift(WIDTH, 0, j) > 0) line = _mm512_srli_epi16(line, shift(WIDTH, 0, j));
    UNROLL
    for (int odd = 0; odd < 2; odd++) {
      const __m512i codes = _mm512_and_si512(line, masks[odd]);
      UNROLL
      for (int m = 0; m < M; m++) {
        const __m512i x = _mm512_set1_epi32(four(x8 + m * x8_stride + 4 * (j + odd)));
        sums[odd][m] = _mm512_dpbusd_epi32(sums[odd][m], codes, x);
      }
    }
  }
}

// Adds the sums of a plane whose codes have LOW bits below them.
template <int WIDTH, int LOW, int M>
VNNI INLINE void add_sums(const __m512i (&sums)[2][M], __m512i (&totals)[M]) {
  for (int m = 0; m < M; m++) {
    const __m512i both = _mm512_add_epi32(sums[0][m], _mm512_srai_epi32(sums[1][m], WIDTH));
    totals[m] = _mm512_add_epi32(totals[m], _mm512_slli_epi32(both, LOW));
  }
}

// Multiplies planes of widths A, B and C. Each dpbusd instruction processes 64 codes of a plane
// and one row of x.
template <int A, int B, int C, int M>
VNNI void planes_vnni(const Tile& t) {
  const uint8_t *a = t.planes[0], *b = t.planes[1], *c = t.planes[2];
  __m512 results[M];
  for (int m = 0; m < M; m++) results[m] = _mm512_loadu_ps(t.result[m]);
  for (int64_t g = 0; g < t.groups; g++) {
    __m512i totals[M] = {}, of_a[2][M] = {}, of_b[2][M] = {}, of_c[2][M] = {};
    for (int64_t k = g * t.G; k < (g + 1) * t.G; k += 32) {
      add_products<A>(a, t.x8 + k, t.x8_stride, of_a);
      if constexpr (B > 0) add_products<B>(b, t.x8 + k, t.x8_stride, of_b);
      if constexpr (C > 0) add_products<C>(c, t.x8 + k, t.x8_stride, of_c);
      a += LINE * A, b += LINE * B, c += LINE * C;
    }
    add_sums<A, B + C>(of_a, totals);
    if constexpr (B > 0) add_sums<B, C>(of_b, totals);
    if constexpr (C > 0) add_sums<C, 0>(of_c, totals);
    const __m512 scale = load_scale(t, g);
    for (int m = 0; m < M; m++) results[m] = add_group(t, results[m], totals[m], scale, m, g);
  }
  for (int m = 0; m < M; m++) _mm512_storeu_ps(t.result[m], results[m]);
}

template <int A, int B, int C>
void few_vnni(const Tile& t, int rows) {
  if (rows == 1) planes_vnni<A, B, C, 1>(t);
  if (rows == 2) planes_vnni<A, B, C, 2>(t);
  if (rows == 3) planes_vnni<A, B, C, 3>(t);
  if (rows == 4) planes_vnni<A, B, C, 4>(t);
}

void from_planes_vnni(const Tile& t, int rows) {
#define CASE(A, B, C) \
  case combination(A, B, C): return few_vnni<A, B, C>(t, rows);
  switch (combination(t.widths)) { EACH_COMBINATION(CASE) }
#undef CASE
}

// Multiplies expanded codes by M rows of x, starting at row `first`.
template <int M>
VNNI void codes_vnni(const Tile& t, int first) {
  constexpr int CHAINS = M == 1 ? 4 : 2;  // independent sums hide instruction latency
  const int8_t* x8 = t.x8 + first * t.x8_stride;
  for (int64_t g = 0; g < t.groups; g++) {
    __m512i sum[CHAINS][M] = {};
    for (int64_t k = g * t.G; k < (g + 1) * t.G; k += 32)
      UNROLL
      for (int j = 0; j < 8; j++) {
        const __m512i code = _mm512_load_si512(t.codes + ROWS * (k + 4 * j));
        UNROLL
        for (int m = 0; m < M; m++) {
          const __m512i x = _mm512_set1_epi32(four(x8 + m * t.x8_stride + k + 4 * j));
          sum[j % CHAINS][m] = _mm512_dpbusd_epi32(sum[j % CHAINS][m], code, x);
        }
      }
    const __m512 scale = load_scale(t, g);
    for (int m = 0; m < M; m++) {
      for (int i = 1; i < CHAINS; i++) sum[0][m] = _mm512_add_epi32(sum[0][m], sum[i][m]);
      float* result = t.result[first + m];
      const __m512 old = _mm512_loadu_ps(result);
      _mm512_storeu_ps(result, add_group(t, old, sum[0][m], scale, first + m, g));
    }
  }
}

void rows_vnni(const Tile& t, int rows, int m) {
  for (; m + 8 <= rows; m += 8) codes_vnni<8>(t, m);
  for (; m + 4 <= rows; m += 4) codes_vnni<4>(t, m);
  for (; m < rows; m++) codes_vnni<1>(t, m);
}

void dense_vnni(const Tile& t, int rows) { rows_vnni(t, rows, 0); }
#endif

// ---- Level 3: AMX in addition to level 2 -------------------------------------------------
#if defined(DPG_AMX)
#define AMX __attribute__((target("amx-tile,amx-int8,avx512f,avx512bw,avx512vl,avx512vnni")))

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Computes the integer sums of one group, [16 m][16 n]. This is a macro because tile numbers must
// be constants.
#define TILE_GROUP(SUM, X8, CODES, g, to)                                \
  do {                                                                   \
    _tile_zero(SUM);                                                     \
    for (int64_t k = (g) * t.G; k < ((g) + 1) * t.G; k += depth) {       \
      _tile_loadd(X8, x8 + k, t.x8_stride);                              \
      _tile_loadd(CODES, t.codes + ROWS * k, LINE);                      \
      _tile_dpbsud(SUM, X8, CODES);                                      \
    }                                                                    \
    _tile_stored(SUM, to, LINE);                                         \
  } while (0)

// Processes 16 activation rows at a time. x8 and the codes already have the memory layout of the
// tiles. The sums of one group are scaled while the tiles of the next group are multiplied.
AMX void dense_amx(const Tile& t, int rows) {
  const int depth = int(std::min<int64_t>(t.G, 64));  // values of k per tile
  TileConfig config;
  for (int i = 0; i < 6; i += 3) {
    config.rows[i] = 16, config.row_bytes[i] = 64;  // sums  [16 m][16 n] int32
    config.rows[i + 1] = 16, config.row_bytes[i + 1] = uint16_t(depth);     // x8 [16 m][depth]
    config.rows[i + 2] = uint8_t(depth / 4), config.row_bytes[i + 2] = 64;  // codes
  }
  if (rows >= 16) _tile_loadconfig(&config);
  alignas(64) int32_t sum[2][16][ROWS];
  const __m512 zero = _mm512_set1_ps(t.zero);
  int m = 0;
  for (; m + 16 <= rows; m += 16) {
    const int8_t* x8 = t.x8 + m * t.x8_stride;
    const float *sx = t.sx + m * t.sx_stride, *group_sums = t.group_sums + m * t.sx_stride;
    __m512 total[16];
    UNROLL
    for (int i = 0; i < 16; i++) total[i] = _mm512_loadu_ps(t.result[m + i]);
    TILE_GROUP(0, 1, 2, 0, sum[0]);
    for (int64_t g = 0; g < t.groups; g++) {
      if (g + 1 < t.groups) {
        if (g % 2) TILE_GROUP(0, 1, 2, g + 1, sum[0]);
        else TILE_GROUP(3, 4, 5, g + 1, sum[1]);
      }
      const __m512 scale = load_scale(t, g);
      UNROLL
      for (int i = 0; i < 16; i++) {  // the same computation as in add_group
        const __m512 group_sum = _mm512_set1_ps(group_sums[i * t.sx_stride + g]);
        const __m512 codes = _mm512_cvtepi32_ps(_mm512_load_si512(sum[g % 2][i]));
        const __m512 value = _mm512_sub_ps(codes, _mm512_mul_ps(zero, group_sum));
        const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(sx[i * t.sx_stride + g]));
        total[i] = _mm512_add_ps(total[i], _mm512_mul_ps(factor, value));
      }
    }
    UNROLL
    for (int i = 0; i < 16; i++) _mm512_storeu_ps(t.result[m + i], total[i]);
  }
  if (m) _tile_release();
  rows_vnni(t, rows, m);
}

// Returns whether the processor has AMX and Linux permits this process to use it.
bool has_amx() {
  unsigned a, b, c, d;
  constexpr unsigned tile = 1u << 24, int8 = 1u << 25;
  constexpr long request_permission = 0x1023, tile_data = 18;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & tile) && (d & int8) &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
[[maybe_unused]] bool has_amx() { return false; }
#endif

const Level LEVELS[] = {
    {expand_portable, dense_portable, nullptr},
#if defined(__x86_64__)
    {expand_avx2, dense_avx2, from_planes_avx2},
    {expand_vnni, dense_vnni, from_planes_vnni},
#endif
#if defined(DPG_AMX)
    {expand_vnni, dense_amx, from_planes_vnni},
#endif
};

int best_level() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni"))
    return has_amx() ? 3 : 2;
  if (__builtin_cpu_supports("avx2")) return 1;
#endif
  return 0;
}

// ---- One product -------------------------------------------------------------------------

struct Call {
  int64_t M, padded_K, G, x8_stride, ldy;
  const int8_t* x8;              // [M][x8_stride]
  const float *sx, *group_sums;  // [M][padded_K / G]
  const float* bias;             // [N] or null
  float* y;                      // [M][ldy]
  const Level* level;
  int threads;
};

// Writes result * step, [rows][16], to the output columns of a block of weight rows.
void write(const Call& c, const dpg_segment& s, int64_t block, int64_t m0, int rows,
           const float (*result)[ROWS]) {
  const int32_t* order = s.order + block * ROWS;
  bool consecutive = order[0] >= 0, padding = false;
  for (int r = 0; r < ROWS; r++) {
    consecutive &= order[r] == order[0] + r;
    padding |= order[r] < 0;
  }
  float bias[ROWS] = {};
  for (int r = 0; c.bias && r < ROWS; r++)
    if (order[r] >= 0) bias[r] = c.bias[order[r]];
  for (int m = 0; m < rows; m++) {
    float* y = c.y + (m0 + m) * c.ldy;
    float scattered[ROWS];
    float* value = consecutive ? y + order[0] : scattered;
    if (s.accumulate)
      for (int r = 0; r < ROWS; r++)
        value[r] = (order[r] < 0 ? 0 : y[order[r]]) + result[m][r] * s.step;
    else
      for (int r = 0; r < ROWS; r++) value[r] = result[m][r] * s.step + bias[r];
    if (consecutive) continue;
    for (int r = 0; r < ROWS; r++)
      if (!padding || order[r] >= 0) y[order[r]] = value[r];
  }
}

// Multiplies a block of 16 weight rows by up to PANEL activation rows, starting at m0.
void multiply_block(const Call& c, const dpg_segment& s, int64_t block, int64_t m0) {
  const int rows = int(std::min<int64_t>(PANEL, c.M - m0));
  const int64_t groups = c.padded_K / c.G;
  const bool expand = rows > FEW || !c.level->from_planes;
  const int64_t at_once = expand ? CHUNK / c.G : groups;
  float result[PANEL][ROWS];
  std::memset(result, 0, rows * sizeof result[0]);
  alignas(64) uint8_t codes[CHUNK * ROWS];
  for (int64_t g = 0; g < groups; g += at_once) {
    Tile t;
    t.widths = s.widths;
    for (int i = 0; i < 3; i++)  // 16 rows take 2 * width bytes per value of k
      t.planes[i] = s.planes[i] + 2 * s.widths[i] * (block * c.padded_K + g * c.G);
    t.codes = codes;
    t.scale = s.scale + g * s.rows + block * ROWS, t.scale_stride = s.rows;
    t.x8 = c.x8 + m0 * c.x8_stride + g * c.G, t.x8_stride = c.x8_stride;
    t.sx = c.sx + m0 * groups + g, t.group_sums = c.group_sums + m0 * groups + g;
    t.sx_stride = groups;
    t.groups = std::min(at_once, groups - g), t.G = c.G;
    t.zero = s.zero;
    t.result = result;
    if (expand) c.level->expand(t, codes), c.level->dense(t, rows);
    else c.level->from_planes(t, rows);
  }
  write(c, s, block, m0, rows, result);
}

// Multiplies all blocks of the segments whose `accumulate` flag equals the argument.
void multiply(const Call& c, const dpg_segment* segments, int64_t count, bool accumulate) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < count; i++)
    if (bool(segments[i].accumulate) == accumulate) blocks += segments[i].rows / ROWS;
  // The outer loop is over panels, so the x8 of a panel stays in the L2 cache for all weights.
  const int64_t tasks = (c.M + PANEL - 1) / PANEL * blocks;
#if defined(_OPENMP)
  // One row of x takes as long as reading the weights: each thread gets one range of them, so that
  // none prefetches what another one will use. More rows compute, and shares even out delays.
  const int64_t parts = c.M <= FEW ? 1 : 16;
  const int64_t share = std::max<int64_t>(1, (tasks + parts * c.threads - 1) / (parts * c.threads));
#pragma omp parallel for num_threads(c.threads) if (c.threads > 1) schedule(dynamic, share)
#endif
  for (int64_t task = 0; task < tasks; task++) {
    int64_t block = task % blocks;
    const dpg_segment* s = segments;
    for (; bool(s->accumulate) != accumulate || block >= s->rows / ROWS; s++)
      if (bool(s->accumulate) == accumulate) block -= s->rows / ROWS;
    multiply_block(c, *s, block, task / blocks * PANEL);
  }
}

bool known(const dpg_segment& s) {
#define CASE(A, B, C) case combination(A, B, C):
  switch (combination(s.widths)) {
    EACH_COMBINATION(CASE) break;
    default: return false;
  }
#undef CASE
  for (int i = 0; i < 3; i++)
    if (s.widths[i] < 0 || s.widths[i] > 4 || (s.widths[i] && !s.planes[i])) return false;
  return s.rows >= 0 && s.rows % ROWS == 0 && (s.rows == 0 || (s.scale && s.order));
}

int64_t round_up(int64_t bytes) { return (bytes + 63) / 64 * 64; }
int64_t stride(int64_t padded_K) { return padded_K + 64; }  // powers of 2 cause cache conflicts

struct Activations {
  int8_t* x8;              // [M][stride]
  float *sx, *group_sums;  // [M][padded_K / G]
};

Activations activations(void* scratch, int64_t M, int64_t padded_K, int64_t G) {
  char* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<intptr_t>(scratch)));
  float* sx = reinterpret_cast<float*>(aligned + round_up(M * stride(padded_K)));
  return {reinterpret_cast<int8_t*>(aligned), sx, sx + M * (padded_K / G)};
}

enum Error { OK, BAD_SIZE, BAD_LEVEL, BAD_POINTER, BAD_SEGMENT };

// ---- Counting active neurons -------------------------------------------------------------

EACH_LEVEL int32_t above_zero(const float* y, int64_t n) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; i++) count += y[i] > 0;
  return count;
}

// counts[i] += the number of rows of y in which column i is above zero
EACH_LEVEL void add_above_zero(const float* y, int64_t rows, int64_t stride, int64_t n,
                               int32_t* counts) {
  for (; rows >= 4; rows -= 4) {
    const float* a = y + (rows - 4) * stride;
    const float *b = a + stride, *c = b + stride, *d = c + stride;
    for (int64_t i = 0; i < n; i++)
      counts[i] += (a[i] > 0) + (b[i] > 0) + (c[i] > 0) + (d[i] > 0);
  }
  for (; rows > 0; rows--)
    for (int64_t i = 0; i < n; i++) counts[i] += y[(rows - 1) * stride + i] > 0;
}

// y = x between 0 and upper, and as above_zero; NaN stays NaN
EACH_LEVEL int32_t clamp_above_zero(const float* x, float* y, int64_t n, float upper) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    const float value = x[i], above = value < 0 ? 0 : value;
    count += value > 0;
    y[i] = above > upper ? upper : above;
  }
  return count;
}

EACH_LEVEL void clamp_add_above_zero(const float* x, float* y, int64_t n, float upper,
                                     int32_t* counts) {
  for (int64_t i = 0; i < n; i++) {
    const float value = x[i], above = value < 0 ? 0 : value;
    counts[i] += value > 0;
    y[i] = above > upper ? upper : above;
  }
}

}  // namespace

extern "C" {

int dpg_level(void) {
  static const int level = best_level();
  return level;
}

int64_t dpg_scratch_bytes(int64_t M, int64_t padded_K, int64_t G) {
  if (M < 0 || padded_K < 0 || G < 1) return 0;
  return 64 + round_up(M * stride(padded_K)) + 8 * M * (padded_K / G);
}

int dpg_linear(const float* x, int64_t ldx, int64_t M, int64_t K, int64_t padded_K, int64_t G,
               const dpg_segment* segments, int64_t n_segments, const float* bias, float* y,
               int64_t ldy, void* scratch, int level, int threads) {
  if (M < 0 || K < 1 || padded_K < K || !(G == 32 || G == 64 || G == 128) || padded_K % G ||
      n_segments < 0 || (M > 1 && ldx < K))
    return BAD_SIZE;
  if (level < 0 || level > dpg_level()) return BAD_LEVEL;
  if (M == 0 || n_segments == 0) return OK;
  if (!x || !y || !scratch || !segments) return BAD_POINTER;
  for (int64_t i = 0; i < n_segments; i++)
    if (!known(segments[i])) return BAD_SEGMENT;
  threads = std::max(threads, 1);

  const int64_t groups = padded_K / G;
  const Activations a = activations(scratch, M, padded_K, G);
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) if (threads > 1 && M > FEW)
#endif
  for (int64_t m = 0; m < M; m++)
    quantize_row(x + m * ldx, K, padded_K, G, a.x8 + m * stride(padded_K), a.sx + m * groups,
                 a.group_sums + m * groups);

  const Call call{M,    padded_K,     G,    stride(padded_K), ldy,     a.x8,
                  a.sx, a.group_sums, bias, y,                &LEVELS[level], threads};
  multiply(call, segments, n_segments, false);
  for (int64_t i = 0; i < n_segments; i++)  // serial: segments may share output columns
    if (segments[i].accumulate) multiply(call, segments + i, 1, true);
  return OK;
}

// Adds the number of values above zero in x[outer][n][inner] to counts[n], where inner is below
// 2^31, and writes max(0, min(x, upper)) to y, which may be x; without y it only counts. It goes
// from the end to the beginning: what was written last is still in the cache.
void dpg_count_active(const float* x, int64_t outer, int64_t neurons, int64_t inner,
                      int64_t* counts, float* y, float upper) {
  constexpr int64_t COLUMNS = 1024, ROWS = 64;
  for (int64_t o = outer; inner > 1 && o-- > 0;)
    for (int64_t n = neurons; n-- > 0;) {
      const int64_t at = (o * neurons + n) * inner;
      counts[n] += y ? clamp_above_zero(x + at, y + at, inner, upper) : above_zero(x + at, inner);
    }
  for (int64_t last = outer; inner == 1 && last > 0;) {
    const int64_t first = last > ROWS ? last - ROWS : 0;
    for (int64_t column = 0; column < neurons; column += COLUMNS) {
      int32_t part[COLUMNS] = {};
      const int64_t n = neurons - column < COLUMNS ? neurons - column : COLUMNS;
      const int64_t at = first * neurons + column;
      if (!y) add_above_zero(x + at, last - first, neurons, n, part);
      for (int64_t row = last - first; y && row-- > 0;)
        clamp_add_above_zero(x + at + row * neurons, y + at + row * neurons, n, upper, part);
      for (int64_t i = 0; i < n; i++) counts[column + i] += part[i];
    }
    last = first;
  }
}
}

#include "grouped.cpp"
