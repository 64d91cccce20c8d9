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
constexpr int PANEL = 192;   // activation rows for which the codes are expanded once
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
  const float *sx, *group_sums;  // [groups][sx_stride], starting at the first activation row
  int64_t scale_stride, x8_stride, sx_stride, groups, G;
  float zero;
  float (*result)[ROWS];  // [activation rows][16], the sum over g in the equation
};

struct Level {
  void (*expand)(const Tile&, uint8_t* codes);   // converts planes to codes in bytes
  void (*dense)(const Tile&, int rows);          // multiplies codes by up to PANEL rows of x
  void (*from_planes)(const Tile&, int rows);    // multiplies planes by up to FEW rows; or null
};

}  // namespace

#include "portable.cpp"
#if defined(__x86_64__)
#include "avx2.cpp"
#include "vnni.cpp"
#endif
#include "amx.cpp"

namespace {

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
  const float *sx, *group_sums;  // [padded_K / G][M]
  const float* bias;             // [N] or null
  float* y;                      // [M][ldy]
  const Level* level;
  int threads;
};

// Writes result * step, [rows][16], to the output columns of a block of weight rows.
void write(const Call& c, const dpg_segment& s, int64_t block, int64_t m0, int rows,
           const float (*result)[ROWS]) {
  const int32_t* order = s.order + block * ROWS;
  __builtin_prefetch(order + 4 * ROWS);  // for later blocks, which begin far apart in time
  int32_t gaps = 0, signs = 0;
  for (int r = 0; r < ROWS; r++) gaps |= order[r] - order[0] - r, signs |= order[r];
  const bool padding = signs < 0, consecutive = gaps == 0 && !padding;
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
    t.sx = c.sx + g * c.M + m0, t.group_sums = c.group_sums + g * c.M + m0, t.sx_stride = c.M;
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
  float *sx, *group_sums;  // [padded_K / G][M]
};

Activations activations(void* scratch, int64_t M, int64_t padded_K, int64_t G) {
  char* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<intptr_t>(scratch)));
  float* sx = reinterpret_cast<float*>(aligned + round_up(M * stride(padded_K)));
  return {reinterpret_cast<int8_t*>(aligned), sx, sx + M * (padded_K / G)};
}

enum Error { OK, BAD_SIZE, BAD_LEVEL, BAD_POINTER, BAD_SEGMENT };

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

  const Activations a = activations(scratch, M, padded_K, G);
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) if (threads > 1 && M > FEW)
#endif
  for (int64_t m = 0; m < M; m++)
    quantize_row(x + m * ldx, K, padded_K, G, a.x8 + m * stride(padded_K), a.sx + m,
                 a.group_sums + m, M);

  const Call call{M,    padded_K,     G,    stride(padded_K), ldy,     a.x8,
                  a.sx, a.group_sums, bias, y,                &LEVELS[level], threads};
  multiply(call, segments, n_segments, false);
  for (int64_t i = 0; i < n_segments; i++)  // serial: segments may share output columns
    if (segments[i].accumulate) multiply(call, segments + i, 1, true);
  return OK;
}
}

#include "count.cpp"
#include "grouped.cpp"
