// Level 2: AVX512-VNNI.

#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

namespace {

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
  const int64_t of_group = g * t.sx_stride + m;
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

// Multiplies expanded codes by M rows of x, starting at row `first`. Eight rows have eight
// independent sums, which hide the latency of dpbusd, and all of their totals stay in registers.
template <int M, int GROUP>
VNNI void codes_vnni(const Tile& t, int first) {
  constexpr int CHAINS = M == 1 ? 4 : M < 8 ? 2 : 1;
  const __m512 zero = _mm512_set1_ps(t.zero);
  const uint8_t* codes = t.codes;
  __m512 totals[M];
  for (int m = 0; m < M; m++) totals[m] = _mm512_loadu_ps(t.result[first + m]);
  for (int64_t g = 0; g < t.groups; g++) {
    const int8_t* x8 = t.x8 + first * t.x8_stride + g * GROUP;
    __m512i sum[CHAINS][M] = {};
    for (int64_t k = 0; k < GROUP; k += 32)
      UNROLL
      for (int j = 0; j < 8; j++, codes += LINE) {
        const __m512i code = _mm512_load_si512(codes);
        UNROLL
        for (int m = 0; m < M; m++) {
          const __m512i x = _mm512_set1_epi32(four(x8 + m * t.x8_stride + k + 4 * j));
          sum[j % CHAINS][m] = _mm512_dpbusd_epi32(sum[j % CHAINS][m], code, x);
        }
      }
    const __m512 scale = load_scale(t, g);
    const int64_t of_group = g * t.sx_stride + first;
    UNROLL
    for (int m = 0; m < M; m++) {  // as in add_group; fused, as the product is exact
      for (int i = 1; i < CHAINS; i++) sum[0][m] = _mm512_add_epi32(sum[0][m], sum[i][m]);
      const __m512 group_sum = _mm512_set1_ps(t.group_sums[of_group + m]);
      const __m512 value = _mm512_fnmadd_ps(zero, group_sum, _mm512_cvtepi32_ps(sum[0][m]));
      const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(t.sx[of_group + m]));
      totals[m] = _mm512_add_ps(totals[m], _mm512_mul_ps(factor, value));
    }
  }
  for (int m = 0; m < M; m++) _mm512_storeu_ps(t.result[first + m], totals[m]);
}

template <int GROUP>
void rows_of_groups(const Tile& t, int rows, int m) {
  for (; m + 8 <= rows; m += 8) codes_vnni<8, GROUP>(t, m);
  for (; m + 4 <= rows; m += 4) codes_vnni<4, GROUP>(t, m);
  for (; m < rows; m++) codes_vnni<1, GROUP>(t, m);
}

void rows_vnni(const Tile& t, int rows, int m) {
  if (t.G == 32) rows_of_groups<32>(t, rows, m);
  if (t.G == 64) rows_of_groups<64>(t, rows, m);
  if (t.G == 128) rows_of_groups<128>(t, rows, m);
}

void dense_vnni(const Tile& t, int rows) { rows_vnni(t, rows, 0); }

}  // namespace
