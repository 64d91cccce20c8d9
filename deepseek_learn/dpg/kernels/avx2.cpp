// Level 1: AVX2.

#define AVX2 __attribute__((target("avx2")))

namespace {

inline int32_t four(const int8_t* x8) {
  int32_t word;
  std::memcpy(&word, x8, 4);
  return word;
}

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
      const int64_t of_group = g * t.sx_stride + first + m;
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

}  // namespace
