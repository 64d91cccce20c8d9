// Attention of one token to those so far: tasks of some tokens each, whose results are merged.

namespace {

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
    // at most e^0: no overflow, and `exponential` is accurate there
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
  // up to four heads at once: a key is loaded once for all of them, and their sums fit in registers
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

// The softmax over all chunks, from their parts: each is scaled to the largest score of all. The
// order is that of the chunks, whichever thread computed them.
EACH_LEVEL void merge(const step_attend& a, int64_t head, int64_t chunks) {
  const int64_t heads = a.heads / a.groups, size = 2 + a.value_dim;
  const float* first = a.parts + head / heads * chunks * heads * size + head % heads * size;
  float largest = first[0], total = 0, *y = a.y + head * a.value_dim;
  for (int64_t c = 1; c < chunks; c++) largest = std::max(largest, first[c * heads * size]);
  if (a.sinks) {  // a score with the value 0: it adds to the total alone
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

}  // namespace
