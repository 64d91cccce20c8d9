// One token through a language model: packed products, and what stands between them.
//
// lm/decoding.py lists the operations of a model once, in order, as `step_operation`s on memory
// that stays where it is. `step_run` executes the list for one token, so that a token costs one
// call from Python and not one per operation.
//
// As in planes.cpp, every instruction set adds the same floats in the same order, and the result
// does not depend on the number of threads.

#include "../../dpg/kernels/planes.cpp"

extern "C" {
// Strides are in elements. [heads][n] with stride s: element i of head h is at h * s + i.

typedef struct {  // y[N] = W x + bias for packed matrices of one input; their outputs follow each
                  // other. Segments that accumulate add to y.
  const dpg_segment* segments;
  const dpg_segment* again;  // the same with `accumulate` set, for 16-bit activations; or null
  int64_t count, K, padded_K, G, N;
  const float *x, *bias;
  float* y;
  void* scratch;
  float* rest;  // [K], if `again` is given
} step_product;

typedef struct {  // y[h] = W[h] x[h], or y[h] += W[h] x[h]; one head: a dense layer
  const float *x, *weight;  // [heads][columns], [heads][rows][columns]
  float* y;                 // [heads][rows]
  int64_t heads, rows, columns, x_stride, y_stride;
  int32_t add;
} step_dense;

typedef struct {  // y = (x - mean) / sqrt(var + eps) * weight + bias; RMS norm: no mean, no bias
  const float *x, *weight, *bias;  // [rows][n], [n] or null, [n] or null
  float* y;
  int64_t rows, n;
  float eps;
  int32_t centered;
} step_norm;

typedef struct {  // turns the pairs (0, 1), (2, 3), ... of each head by the angles of the position
  const float *x, *turns;  // turns: [capacity][dim / 2][cos, sin]
  float* y;                // may be x
  int64_t heads, dim, x_stride, y_stride;
} step_rotate;

typedef struct {  // writes the heads of the new token into a cache, [heads][capacity][width]
  const float* x;
  void* cache;
  int64_t heads, dim, x_stride, head_stride, token_stride;
  int32_t bfloat16;
} step_store;

typedef struct {  // y[h] = Σ_s softmax_s(scale q[h] · k[s]) v[s] over the tokens so far, or over
                  // the first *seen; sinks[h] is one more score, with the value 0
  const float* q;  // [heads][key_dim]
  const void *keys, *values;  // the cache of `step_store`; `heads / groups` heads share a group
  float *y, *parts;           // [heads][value_dim]; [tasks][heads / groups][2 + value_dim]
  const int64_t* seen;        // or null
  const float* sinks;         // [heads] or null
  int64_t heads, groups, key_dim, value_dim;
  int64_t key_head, key_token, value_head, value_token;  // strides
  float scale;
  int32_t bfloat16;
} step_attend;

typedef struct {  // y = f(x) * up * factor, element by element; up may be null, factor points to
  const float *x, *up, *factor;  // one number or is null
  float* y;
  int64_t n;
  int32_t kind;  // 0: SiLU, 1: ReLU, 2: GELU
} step_gate;

typedef struct {  // y += x
  const float* x;
  float* y;
  int64_t n;
} step_add;

typedef struct {  // chooses experts by their scores: `chosen` [top], `weights` [top]
  float* scores;      // [experts], the router's logits; overwritten
  const float* bias;  // [experts], added for the choice only; or null
  int32_t* chosen;
  float *weights, *biased;  // biased: [experts], scratch
  int64_t experts, top, groups, top_groups, best_of_group;
  float factor;
  int32_t scoring, normalized;  // scoring 0: sigmoid, 1: softmax, 2: sqrt of softplus
} step_route;

typedef struct {  // y = the row *index of a table, or y += it; packed if `segments` is given
  const int64_t* index;
  const float* table;  // [rows, columns]
  const dpg_segment* segments;
  const int64_t* stored;  // [rows]: where each row of a packed table is stored
  float* y;
  int64_t count, columns, padded_columns, G;
  int32_t add;
} step_lookup;

typedef struct {
  int32_t kind;
  void* arguments;
} step_operation;

typedef struct {  // runs the list of each chosen expert; `factor` is its weight for `step_gate`
  const int32_t* chosen;
  const float* weights;
  float* factor;
  const step_operation* const* programs;  // [experts]
  const int64_t* counts;                  // [experts]
  int64_t top;
} step_experts;
}

namespace {

enum Kind { PRODUCT, DENSE, NORM, ROTATE, STORE, ATTEND, GATE, ADD, ROUTE, EXPERTS, LOOKUP,
            COMPRESS, CHOOSE, GATHER };
#define INLINE_LAMBDA __attribute__((always_inline))
constexpr int LANES = 16;         // partial sums that do not wait for each other
constexpr int64_t TOKENS = 128;   // of a task of attention
constexpr int64_t PARALLEL = 1 << 15;  // multiplications that are worth a second thread

// e^x for x <= 88; relative error below 3e-7, as a polynomial that compilers vectorize.
INLINE float exponential(float x) {
  x = std::max(std::min(x, 88.0f), -87.0f);
  const float integers = 12582912.0f;  // adding it rounds to integers
  const float n = (x * 1.44269504f + integers) - integers;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f, p = p * r + 8.3334519073e-3f, p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f, p = p * r + 5.0000001201e-1f;
  const float fraction = p * r * r + r + 1;
  const int32_t bits = (int32_t(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, 4);
  return fraction * power;
}

INLINE float of(float value) { return value; }
INLINE float of(uint16_t bfloat16) {
  const uint32_t bits = uint32_t(bfloat16) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

INLINE uint16_t to_bfloat16(float value) {  // rounds to nearest, ties to even; NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16) | 64;
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float sum(const float* lanes) {  // in a fixed order
  float half[LANES / 2];
  for (int i = 0; i < LANES / 2; i++) half[i] = lanes[i] + lanes[i + LANES / 2];
  for (int width = LANES / 4; width; width /= 2)
    for (int i = 0; i < width; i++) half[i] += half[i + width];
  return half[0];
}

template <typename F>
INLINE float sum_of(int64_t n, F value) {  // Σ_i value(i), in an order that can be vectorized
  float lanes[LANES] = {};
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) lanes[j] += value(i + j);
  for (int j = 0; i < n; i++, j++) lanes[j] += value(i);
  return sum(lanes);
}

INLINE float largest_of(const float* x, int64_t n) {
  float lanes[LANES];
  for (float& lane : lanes) lane = x[0];
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) lanes[j] = std::max(lanes[j], x[i + j]);
  for (; i < n; i++) lanes[0] = std::max(lanes[0], x[i]);
  return *std::max_element(lanes, lanes + LANES);
}

template <typename T>
INLINE float dot(const float* x, const T* y, int64_t n) {
  return sum_of(n, [=](int64_t i) INLINE_LAMBDA { return x[i] * of(y[i]); });
}

EACH_LEVEL void dense_rows(const step_dense& d, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; row++) {
    const int64_t h = row / d.rows;
    float& y = d.y[h * d.y_stride + row % d.rows];
    y = dot(d.x + h * d.x_stride, d.weight + row * d.columns, d.columns) + (d.add ? y : 0.0f);
  }
}

void dense(const step_dense& d, [[maybe_unused]] int threads) {
  const int64_t rows = d.heads * d.rows, block = 64;
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) if (threads > 1 && rows * d.columns > PARALLEL)
#endif
  for (int64_t first = 0; first < rows; first += block)
    dense_rows(d, first, std::min(first + block, rows));
}

EACH_LEVEL void norm(const step_norm& a) {
  for (int64_t row = 0; row < a.rows; row++) {
    const float* x = a.x + row * a.n;
    float* y = a.y + row * a.n;
    const float total = sum_of(a.n, [=](int64_t i) INLINE_LAMBDA { return x[i]; });
    const float mean = a.centered ? total / a.n : 0.0f;
    const float squares =
        sum_of(a.n, [=](int64_t i) INLINE_LAMBDA { return (x[i] - mean) * (x[i] - mean); });
    const float factor = 1 / std::sqrt(squares / a.n + a.eps);
    for (int64_t i = 0; i < a.n; i++) {
      const float value = (x[i] - mean) * factor * (a.weight ? a.weight[i] : 1.0f);
      y[i] = a.bias ? value + a.bias[i] : value;
    }
  }
}

EACH_LEVEL void rotate(const step_rotate& r, int64_t position) {
  const float* turn = r.turns + position * r.dim;
  for (int64_t h = 0; h < r.heads; h++) {
    const float* x = r.x + h * r.x_stride;
    float* y = r.y + h * r.y_stride;
    for (int64_t i = 0; i < r.dim; i += 2) {
      const float a = x[i], b = x[i + 1];
      y[i] = a * turn[i] - b * turn[i + 1];
      y[i + 1] = b * turn[i] + a * turn[i + 1];
    }
  }
}

void store(const step_store& s, int64_t position) {
  for (int64_t h = 0; h < s.heads; h++) {
    const float* x = s.x + h * s.x_stride;
    const int64_t start = h * s.head_stride + position * s.token_stride;
    if (!s.bfloat16) {
      std::memcpy(static_cast<float*>(s.cache) + start, x, s.dim * sizeof *x);
      continue;
    }
    uint16_t* to = static_cast<uint16_t*>(s.cache) + start;
    for (int64_t i = 0; i < s.dim; i++) to[i] = to_bfloat16(x[i]);
  }
}

INLINE void load_lanes(Lanes& lanes, const float* from) { std::memcpy(&lanes, from, sizeof lanes); }

INLINE void load_lanes(Lanes& lanes, const uint16_t* bfloat16) {
  uint16_t halves __attribute__((vector_size(32)));
  typedef uint32_t Words __attribute__((vector_size(64)));
  std::memcpy(&halves, bfloat16, sizeof halves);
  lanes = (Lanes)(__builtin_convertvector(halves, Words) << 16);
}

// One step of 16 sums over the lanes of 16 vectors at once: half of each vector is added to its
// other half, and two vectors of half the length share one.
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
typedef int32_t Places __attribute__((vector_size(64)));
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Places{__VA_ARGS__})
#endif
#define ADD_HALVES(sums, count, LOW, HIGH)                  \
  UNROLL                                                    \
  for (int i = 0; i < count; i++) {                         \
    const Lanes a = sums[2 * i], b = sums[2 * i + 1];       \
    sums[i] = SHUFFLE(a, b, LOW) + SHUFFLE(a, b, HIGH);     \
  }
#define LOW_8 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH_8 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LOW_4 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define HIGH_4 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#define LOW_2 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29
#define HIGH_2 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31
#define LOW_1 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define HIGH_1 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31

INLINE void add_lanes(Lanes (&sums)[LANES], float* totals) {  // in the order of `sum`
  ADD_HALVES(sums, 8, LOW_8, HIGH_8);
  ADD_HALVES(sums, 4, LOW_4, HIGH_4);
  ADD_HALVES(sums, 2, LOW_2, HIGH_2);
  ADD_HALVES(sums, 1, LOW_1, HIGH_1);
  std::memcpy(totals, &sums[0], sizeof sums[0]);
}

// 32 numbers in two registers: of floats, the first and the last 16; of bfloat16, those at even and
// at odd places, because a shift and a mask of words separate them.
constexpr int PAIR = 2 * LANES;
constexpr int64_t WIDEST = 1024;  // columns of a key that are loaded in pairs

INLINE void load_pair(Lanes (&pair)[2], const float* from) { std::memcpy(pair, from, sizeof pair); }

INLINE void load_pair(Lanes (&pair)[2], const uint16_t* bfloat16) {
  uint32_t words __attribute__((vector_size(64)));
  std::memcpy(&words, bfloat16, sizeof words);
  pair[0] = (Lanes)(words << 16), pair[1] = (Lanes)(words & 0xffff0000u);
}

INLINE int place(const float*, int i) { return i; }
INLINE int place(const uint16_t*, int i) { return 2 * (i % LANES) + i / LANES; }

// scores[h][s] = q[h] · k[s] for H heads, which share the keys.
template <int H, typename T>
INLINE void score_tokens(const float* q, int64_t dim, const T* keys, int64_t stride, int64_t n,
                         float (*scores)[TOKENS]) {
  const int64_t paired = std::min(dim / PAIR * PAIR, WIDEST), whole = dim / LANES * LANES;
  float arranged[H][WIDEST];  // q in the order of the registers
  for (int h = 0; h < H; h++)
    for (int64_t i = 0; i < paired; i += PAIR)
      for (int j = 0; j < PAIR; j++) arranged[h][i + j] = q[h * dim + i + place(keys, j)];
  for (int64_t first = 0; first < n; first += LANES) {
    Lanes sums[H][LANES];
    const int64_t some = std::min<int64_t>(LANES, n - first);
    for (int64_t s = 0; s < some; s++) {
      const T* key = keys + (first + s) * stride;
      Lanes sum[H] = {}, query;
      for (int64_t i = 0; i < paired; i += PAIR) {
        Lanes pair[2];
        load_pair(pair, key + i);
        UNROLL
        for (int half = 0; half < 2; half++)
          UNROLL
          for (int h = 0; h < H; h++) {
            load_lanes(query, arranged[h] + i + half * LANES);
            sum[h] += query * pair[half];
          }
      }
      for (int64_t i = paired; i < whole; i += LANES) {
        Lanes part;
        load_lanes(part, key + i);
        UNROLL
        for (int h = 0; h < H; h++) {
          load_lanes(query, q + h * dim + i);
          sum[h] += query * part;
        }
      }
      UNROLL
      for (int h = 0; h < H; h++) sums[h][s] = sum[h];
    }
    for (int h = 0; h < H; h++)
      for (int64_t s = some; s < LANES; s++) sums[h][s] = Lanes{};
    UNROLL
    for (int h = 0; h < H; h++) add_lanes(sums[h], scores[h] + first);
    for (int64_t s = 0; s < some; s++)
      for (int64_t rest = whole; rest < dim; rest++)
        for (int h = 0; h < H; h++)
          scores[h][first + s] += q[h * dim + rest] * of(keys[(first + s) * stride + rest]);
  }
}

// 32 P columns of y[h] = Σ_s scores[h][s] v[s] for H heads.
template <int H, int P, typename T>
INLINE void weigh_pairs(const float (*scores)[TOKENS], const T* values, int64_t stride, int64_t n,
                        float* y, int64_t y_stride) {
  Lanes sums[H][P][2] = {};
  for (int64_t s = 0; s < n; s++) {
    UNROLL
    for (int p = 0; p < P; p++) {
      Lanes pair[2];
      load_pair(pair, values + s * stride + p * PAIR);
      UNROLL
      for (int h = 0; h < H; h++) {
        sums[h][p][0] += scores[h][s] * pair[0];
        sums[h][p][1] += scores[h][s] * pair[1];
      }
    }
  }
  for (int h = 0; h < H; h++)
    for (int p = 0; p < P; p++)
      for (int i = 0; i < PAIR; i++)
        y[h * y_stride + p * PAIR + place(values, i)] = sums[h][p][i / LANES][i % LANES];
}

// y[h] = Σ_s scores[h][s] v[s] for H heads, which share the values.
template <int H, typename T>
INLINE void weigh_tokens(const float (*scores)[TOKENS], const T* values, int64_t stride, int64_t n,
                         int64_t dim, float* y, int64_t y_stride) {
  int64_t i = 0;
  for (; i + 2 * PAIR <= dim; i += 2 * PAIR)
    weigh_pairs<H, 2>(scores, values + i, stride, n, y + i, y_stride);
  for (; i + PAIR <= dim; i += PAIR)
    weigh_pairs<H, 1>(scores, values + i, stride, n, y + i, y_stride);
  for (; i + LANES <= dim; i += LANES) {
    Lanes sums[H] = {};
    for (int64_t s = 0; s < n; s++) {
      Lanes value;
      load_lanes(value, values + s * stride + i);
      UNROLL
      for (int h = 0; h < H; h++) sums[h] += scores[h][s] * value;
    }
    for (int h = 0; h < H; h++) std::memcpy(y + h * y_stride + i, &sums[h], sizeof sums[h]);
  }
  for (int h = 0; h < H; h++)
    for (int64_t rest = i; rest < dim; rest++) {
      y[h * y_stride + rest] = 0;
      for (int64_t s = 0; s < n; s++)
        y[h * y_stride + rest] += scores[h][s] * of(values[s * stride + rest]);
    }
}

// The tokens first .. first+n-1 for H heads of one group. Each head's part is its largest score,
// the sum of the exponentials, and the sum of the values weighted by them.
template <int H, typename T>
INLINE void attend_heads(const step_attend& a, const float* q, const T* keys, const T* values,
                         int64_t n, float* parts) {
  const int64_t size = 2 + a.value_dim;
  float scores[H][TOKENS];
  score_tokens<H>(q, a.key_dim, keys, a.key_token, n, scores);
  for (int h = 0; h < H; h++) {
    float* mine = scores[h];
    const float largest = largest_of(mine, n);
    for (int64_t s = 0; s < n; s++) mine[s] = exponential((mine[s] - largest) * a.scale);
    parts[h * size] = largest * a.scale;
    parts[h * size + 1] = sum_of(n, [&](int64_t s) INLINE_LAMBDA { return mine[s]; });
  }
  weigh_tokens<H>(scores, values, a.value_token, n, a.value_dim, parts + 2, size);
}

template <typename T>
INLINE void attend_part(const step_attend& a, int64_t group, int64_t first, int64_t n,
                        float* parts) {
  const int64_t heads = a.heads / a.groups, size = 2 + a.value_dim;
  const float* q = a.q + group * heads * a.key_dim;
  const T* keys = static_cast<const T*>(a.keys) + group * a.key_head + first * a.key_token;
  const T* values = static_cast<const T*>(a.values) + group * a.value_head + first * a.value_token;
  int64_t h = 0;
  for (; h + 4 <= heads; h += 4)
    attend_heads<4>(a, q + h * a.key_dim, keys, values, n, parts + h * size);
  q += h * a.key_dim, parts += h * size;
  if (heads - h == 3) attend_heads<3>(a, q, keys, values, n, parts);
  if (heads - h == 2) attend_heads<2>(a, q, keys, values, n, parts);
  if (heads - h == 1) attend_heads<1>(a, q, keys, values, n, parts);
}

EACH_LEVEL void attend_float(const step_attend& a, int64_t g, int64_t s, int64_t n, float* to) {
  attend_part<float>(a, g, s, n, to);
}

EACH_LEVEL void attend_bfloat16(const step_attend& a, int64_t g, int64_t s, int64_t n, float* to) {
  attend_part<uint16_t>(a, g, s, n, to);
}

EACH_LEVEL void merge(const step_attend& a, int64_t head, int64_t chunks) {
  const int64_t heads = a.heads / a.groups, size = 2 + a.value_dim;
  const float* first = a.parts + head / heads * chunks * heads * size + head % heads * size;
  float largest = first[0], total = 0, *y = a.y + head * a.value_dim;
  for (int64_t c = 1; c < chunks; c++) largest = std::max(largest, first[c * heads * size]);
  if (a.sinks) {
    largest = std::max(largest, a.sinks[head]);
    total = exponential(a.sinks[head] - largest);
  }
  std::memset(y, 0, a.value_dim * sizeof *y);
  for (int64_t c = 0; c < chunks; c++) {
    const float* part = first + c * heads * size;
    const float weight = exponential(part[0] - largest);
    total += weight * part[1];
    for (int64_t i = 0; i < a.value_dim; i++) y[i] += weight * part[2 + i];
  }
  for (int64_t i = 0; i < a.value_dim; i++) y[i] /= total;
}

void attend(const step_attend& a, int64_t seen, [[maybe_unused]] int threads) {
  const int64_t chunks = (seen + TOKENS - 1) / TOKENS, tasks = a.groups * chunks;
  const int64_t size = a.heads / a.groups * (2 + a.value_dim);
#if defined(_OPENMP)
#pragma omp parallel for num_threads(threads) schedule(dynamic) \
    if (threads > 1 && seen * a.heads * a.key_dim > PARALLEL)
#endif
  for (int64_t task = 0; task < tasks; task++) {
    const int64_t first = task % chunks * TOKENS, n = std::min(TOKENS, seen - first);
    (a.bfloat16 ? attend_bfloat16 : attend_float)(a, task / chunks, first, n,
                                                  a.parts + task * size);
  }
  for (int64_t head = 0; head < a.heads; head++) merge(a, head, chunks);
}

EACH_LEVEL void gate(const step_gate& a) {
  const float factor = a.factor ? *a.factor : 1.0f;
  if (a.kind == 0)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = a.x[i] / (1 + exponential(-a.x[i]));
  if (a.kind == 1)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = std::max(a.x[i], 0.0f);
  if (a.kind == 2)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = a.x[i] * 0.5f * (1 + std::erf(a.x[i] * 0.70710678f));
  for (int64_t i = 0; i < a.n; i++) a.y[i] *= (a.up ? a.up[i] : 1.0f) * factor;
}

EACH_LEVEL void add(const step_add& a) {
  for (int64_t i = 0; i < a.n; i++) a.y[i] += a.x[i];
}

// Adds the weights of one stored row of a segment to y.
void add_row(const step_lookup& a, const dpg_segment& s, int64_t row) {
  const int64_t block = row / ROWS, groups = a.padded_columns / a.G;
  for (int64_t g = 0; g < groups; g++) {
    const float scale = of(s.scale[g * s.rows + row]) * s.step;
    const int64_t end = std::min((g + 1) * a.G, a.columns);
    for (int64_t k = g * a.G; k < end; k++) {
      int code = 0;
      for (int i = 0; i < 3 && s.widths[i]; i++) {
        const int width = s.widths[i], line = 32 / width;  // values of k in a line
        const uint8_t* bytes = s.planes[i] + 2 * width * block * a.padded_columns;
        const uint8_t byte = bytes[LINE * (k / line) + 4 * (row % ROWS) + k % 4];
        code = code << width | (byte >> (width * (k % line / 4)) & ((1 << width) - 1));
      }
      a.y[k] += (code - s.zero) * scale;
    }
  }
}

void lookup(const step_lookup& a) {
  const int64_t row = *a.index;
  if (!a.add) std::memset(a.y, 0, a.columns * sizeof *a.y);
  if (!a.segments) {
    for (int64_t k = 0; k < a.columns; k++) a.y[k] += a.table[row * a.columns + k];
    return;
  }
  // every term has its own segments, and each stores all rows in the same order
  int64_t first = 0;
  bool accumulate = false;
  for (const dpg_segment* s = a.segments; s < a.segments + a.count; s++) {
    if (bool(s->accumulate) != accumulate) first = 0, accumulate = s->accumulate;
    const int64_t place = a.stored[row] - first;
    if (place >= 0 && place < s->rows) add_row(a, *s, place);
    first += s->rows;
  }
}

// The best of `n` values by selection, since few are wanted. Ties go to the first.
int64_t take_best(float* values, int64_t n) {
  const int64_t best = std::max_element(values, values + n) - values;
  values[best] = -INFINITY;
  return best;
}

void only_the_best_groups(const step_route& r) {
  const int64_t size = r.experts / r.groups;
  float value[256], copy[1024];
  std::memcpy(copy, r.biased, r.experts * sizeof *copy);
  for (int64_t g = 0; g < r.groups; g++) {
    value[g] = 0;
    for (int64_t i = 0; i < r.best_of_group; i++) {
      const int64_t best = take_best(copy + g * size, size);
      value[g] += r.biased[g * size + best];
    }
  }
  bool keep[256] = {};
  for (int64_t i = 0; i < r.top_groups; i++) keep[take_best(value, r.groups)] = true;
  for (int64_t e = 0; e < r.experts; e++)
    if (!keep[e / size]) r.biased[e] = -INFINITY;
}

void route(const step_route& r) {
  float largest = r.scores[0], total = 0;
  for (int64_t e = 0; e < r.experts; e++) largest = std::max(largest, r.scores[e]);
  for (int64_t e = 0; e < r.experts; e++) {
    const float x = r.scores[e];
    if (r.scoring == 0) r.scores[e] = 1 / (1 + std::exp(-x));
    if (r.scoring == 1) total += r.scores[e] = std::exp(x - largest);
    if (r.scoring == 2) r.scores[e] = std::sqrt(x > 20 ? x : std::log1p(std::exp(x)));
  }
  for (int64_t e = 0; e < r.experts; e++) {
    if (r.scoring == 1) r.scores[e] /= total;
    r.biased[e] = r.scores[e] + (r.bias ? r.bias[e] : 0);
  }
  if (r.top_groups < r.groups) only_the_best_groups(r);
  float sum = 0;
  for (int64_t i = 0; i < r.top; i++) {
    r.chosen[i] = int32_t(take_best(r.biased, r.experts));
    sum += r.weights[i] = r.scores[r.chosen[i]];
  }
  for (int64_t i = 0; i < r.top; i++)
    r.weights[i] *= r.normalized ? r.factor / (sum + 1e-20f) : r.factor;
}

}  // namespace

#include "hybrid.cpp"
//
#include "causal.cpp"

namespace {

int product(const step_product& p, int level, int threads) {
  int error = dpg_linear(p.x, p.K, 1, p.K, p.padded_K, p.G, p.segments, p.count, p.bias, p.y, p.N,
                         p.scratch, level, threads);
  if (error || !p.again) return error;
  // 16-bit activations: multiply what rounding to x8 has cut off, too
  const Activations a = activations(p.scratch, 1, p.padded_K, p.G);
  for (int64_t k = 0; k < p.K; k++) p.rest[k] = p.x[k] - a.x8[k] * a.sx[k / p.G];
  return dpg_linear(p.rest, p.K, 1, p.K, p.padded_K, p.G, p.again, p.count, nullptr, p.y, p.N,
                    p.scratch, level, threads);
}

}  // namespace

extern "C" {

// Executes the operations for the token at `position`. Returns the error of `dpg_linear`, or -1
// for an unknown kind.
int step_run(const step_operation* operations, int64_t count, int64_t position, int level,
             int threads) {
  for (int64_t i = 0; i < count; i++) {
    const void* a = operations[i].arguments;
    int error = 0;
    switch (operations[i].kind) {
      case PRODUCT: error = product(*static_cast<const step_product*>(a), level, threads); break;
      case DENSE: dense(*static_cast<const step_dense*>(a), threads); break;
      case NORM: norm(*static_cast<const step_norm*>(a)); break;
      case ROTATE: rotate(*static_cast<const step_rotate*>(a), position); break;
      case STORE: store(*static_cast<const step_store*>(a), position); break;
      case ATTEND: {
        const step_attend& attention = *static_cast<const step_attend*>(a);
        attend(attention, attention.seen ? *attention.seen : position + 1, threads);
        break;
      }
      case COMPRESS: compress(*static_cast<const step_compress*>(a), position); break;
      case CHOOSE: choose(*static_cast<const step_choose*>(a), position); break;
      case GATHER: gather(*static_cast<const step_gather*>(a), position); break;
      case GATE: gate(*static_cast<const step_gate*>(a)); break;
      case ADD: add(*static_cast<const step_add*>(a)); break;
      case LOOKUP: lookup(*static_cast<const step_lookup*>(a)); break;
      case ROUTE: route(*static_cast<const step_route*>(a)); break;
      case EXPERTS: {
        const step_experts& e = *static_cast<const step_experts*>(a);
        for (int64_t j = 0; j < e.top && !error; j++) {
          const int32_t expert = e.chosen[j];
          *e.factor = e.weights[j];
          error = step_run(e.programs[expert], e.counts[expert], position, level, threads);
        }
        break;
      }
      default: error = -1;
    }
    if (error) return error;
  }
  return 0;
}

int64_t step_tokens_of_a_task(void) { return TOKENS; }
}
