// Causal attention over a prompt: y[t] = Σ_{s <= t} softmax_s(scale q[t] · k[s]) v[s].
//
// PyTorch's kernel computes the upper triangle of the scores as well, up to 512 tokens, and copies
// keys that several heads share. Here, a task is a block of 16 queries of each head of one group.
// The 16 queries lie side by side in a register, and a key or value multiplies all of them.

extern "C" {
typedef struct {  // strides are in elements: element i of head h and token t is at
                  // h * head + t * token + i. heads / groups heads share keys and values.
  const float *q, *k, *v;
  float *y, *scratch;  // scratch: causal_scratch_floats
  int64_t heads, groups, tokens, dim, value_dim;
  int64_t q_head, q_token, k_head, k_token, v_head, v_token, y_head, y_token;
  float scale;
} causal_prompt;
}

namespace {

constexpr int TILE = 8;         // keys, or columns of values, that are multiplied at once
constexpr int64_t SEEN = 256;   // tokens whose scores stay in the first cache for all columns

int64_t in_lanes(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
int64_t packed_floats(const causal_prompt& a) {  // of the keys and values of one group
  return in_lanes(a.tokens) * (a.dim + in_lanes(a.value_dim));
}
int64_t task_floats(const causal_prompt& a) {  // queries, scores and outputs of one head
  return (a.dim + in_lanes(a.tokens) + in_lanes(a.value_dim)) * LANES;
}

// c[R][16] = Σ_k a[k][R] b[k][16], or is added to c; the rows of a are `stride` apart.
template <int R>
INLINE void multiply_lanes(const float* a, int64_t stride, const float* b, int64_t n, float* c,
                           bool add) {
  Lanes sums[R];
  UNROLL
  for (int r = 0; r < R; r++) {
    sums[r] = Lanes{};
    if (add) load_lanes(sums[r], c + r * LANES);
  }
  for (int64_t k = 0; k < n; k++) {
    Lanes right;
    load_lanes(right, b + k * LANES);
    UNROLL
    for (int r = 0; r < R; r++) sums[r] += a[k * stride + r] * right;
  }
  UNROLL
  for (int r = 0; r < R; r++) std::memcpy(c + r * LANES, &sums[r], sizeof sums[r]);
}

// scores[s][16] = k[s] · q[16] for the tokens up to `end`, with keys as [tiles][dim][TILE].
EACH_LEVEL void score_block(const float* keys, const float* q, int64_t dim, int64_t end,
                            float* scores) {
  for (int64_t s = 0; s < end; s += TILE)
    multiply_lanes<TILE>(keys + s * dim, TILE, q, dim, scores + s * LANES, false);
}

// scores = exp(scale (scores - largest)) for the tokens that each query sees, 0 for the others up
// to `end`; query j sees first + j + 1. inverse = 1 / their sum.
EACH_LEVEL void exponentials(float* scores, int64_t first, int64_t end, float scale,
                             float* inverse) {
  Lanes largest, total = {};
  std::memcpy(&largest, scores, sizeof largest);
  for (int64_t s = 1; s <= first; s++)
    for (int j = 0; j < LANES; j++) largest[j] = std::max(largest[j], scores[s * LANES + j]);
  for (int64_t s = first + 1; s < end; s++)
    for (int64_t j = s - first; j < LANES; j++)
      largest[j] = std::max(largest[j], scores[s * LANES + j]);
  for (int64_t s = 0; s < end; s++) {
    float* of_token = scores + s * LANES;
    for (int j = 0; j < LANES; j++) of_token[j] = exponential((of_token[j] - largest[j]) * scale);
    if (s > first) std::fill(of_token, of_token + s - first, 0.0f);
    for (int j = 0; j < LANES; j++) total[j] += of_token[j];
  }
  for (int j = 0; j < LANES; j++) inverse[j] = 1 / total[j];
}

// y[columns][16] = Σ_s v[s][columns] scores[s][16], with values as [tokens][columns].
EACH_LEVEL void weigh_block(const float* values, int64_t columns, const float* scores, int64_t end,
                            float* y) {
  for (int64_t s = 0; s < end; s += SEEN)
    for (int64_t i = 0; i < columns; i += TILE)
      multiply_lanes<TILE>(values + s * columns + i, columns, scores + s * LANES,
                           std::min(SEEN, end - s), y + i * LANES, s > 0);
}

// 16 keys of a group as [16 / TILE][dim][TILE], and their values as [16][columns]; padding is 0.
void pack(const causal_prompt& a, int64_t group, int64_t first, float* packed) {
  const int64_t columns = in_lanes(a.value_dim);
  float* keys = packed + first * a.dim;
  float* values = packed + in_lanes(a.tokens) * a.dim + first * columns;
  std::fill(keys, keys + LANES * a.dim, 0.0f);
  std::fill(values, values + LANES * columns, 0.0f);
  for (int64_t j = 0; j < std::min<int64_t>(LANES, a.tokens - first); j++) {
    const float* key = a.k + group * a.k_head + (first + j) * a.k_token;
    for (int64_t i = 0; i < a.dim; i++)
      keys[(j / TILE * a.dim + i) * TILE + j % TILE] = key[i];
    std::copy_n(a.v + group * a.v_head + (first + j) * a.v_token, a.value_dim,
                values + j * columns);
  }
}

// The queries first .. first + 15 of one head.
void attend_block(const causal_prompt& a, int64_t head, int64_t first, const float* packed,
                  float* room) {
  const int64_t rows = std::min<int64_t>(LANES, a.tokens - first), end = first + rows;
  const int64_t columns = in_lanes(a.value_dim);
  float *scores = room + a.dim * LANES, *outputs = scores + in_lanes(a.tokens) * LANES;
  // 1. 16 queries side by side, [dim][16], so that one vector holds a channel of all of them
  std::fill(room, scores, 0.0f);
  for (int64_t j = 0; j < rows; j++)
    for (int64_t i = 0; i < a.dim; i++)
      room[i * LANES + j] = a.q[head * a.q_head + (first + j) * a.q_token + i];
  // 2. Only the tokens up to the last query; `exponentials` takes out what each does not see.
  score_block(packed, room, a.dim, end, scores);
  float inverse[LANES];
  exponentials(scores, first, end, a.scale, inverse);
  // 3. Divide by the sums of the exponentials last, once per output and not per token.
  weigh_block(packed + in_lanes(a.tokens) * a.dim, columns, scores, end, outputs);
  for (int64_t j = 0; j < rows; j++)
    for (int64_t i = 0; i < a.value_dim; i++)
      a.y[head * a.y_head + (first + j) * a.y_token + i] = outputs[i * LANES + j] * inverse[j];
}

}  // namespace

extern "C" {

int64_t causal_scratch_floats(const causal_prompt* a, int threads) {
  return a->groups * packed_floats(*a) + threads * task_floats(*a);
}

void causal_attend(const causal_prompt* prompt, [[maybe_unused]] int threads) {
  const causal_prompt& a = *prompt;
  const int64_t blocks = (a.tokens + LANES - 1) / LANES, heads = a.heads / a.groups;
  float* rooms = a.scratch + a.groups * packed_floats(a);
#if defined(_OPENMP)
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
#pragma omp for
#endif
    for (int64_t task = 0; task < a.groups * blocks; task++)
      pack(a, task % a.groups, task / a.groups * LANES,
           a.scratch + task % a.groups * packed_floats(a));
#if defined(_OPENMP)
#pragma omp for schedule(dynamic)
#endif
    for (int64_t task = 0; task < a.heads * blocks; task++) {
      const int64_t head = task % a.heads, block = blocks - 1 - task / a.heads;  // longest first
      int64_t own = 0;
#if defined(_OPENMP)
      own = omp_get_thread_num();
#endif
      attend_block(a, head, block * LANES, a.scratch + head / heads * packed_floats(a),
                   rooms + own * task_floats(a));
    }
#if defined(_OPENMP)
  }
#endif
}
}
