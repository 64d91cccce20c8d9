// Level 3: AMX in addition to level 2.

namespace {

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
    const float *sx = t.sx + m, *group_sums = t.group_sums + m;
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
        const __m512 group_sum = _mm512_set1_ps(group_sums[g * t.sx_stride + i]);
        const __m512 codes = _mm512_cvtepi32_ps(_mm512_load_si512(sum[g % 2][i]));
        const __m512 value = _mm512_sub_ps(codes, _mm512_mul_ps(zero, group_sum));
        const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(sx[g * t.sx_stride + i]));
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

}  // namespace
