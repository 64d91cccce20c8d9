// The parts of hybrid attention (lm/hybrid.py): entries that stand for several tokens, the choice
// among them, and the vectors that one token attends to.

extern "C" {
typedef struct {  // one entry for each `rate` tokens, written when its window is complete
  const float* both;  // [2 * width]: contents, then gates, of the new token
  float* tokens;      // [2 * rate][2 * width]: those of the last tokens, by position
  float* scratch;     // [3][dim]
  const float *bias, *weight, *turns;  // [rate][width], [dim], [capacity][rope / 2][cos, sin]
  void* entries;                       // the cache, [windows][stride]
  int64_t rate, overlap, dim, rope, stride;  // width = dim, or 2 dim with `overlap`
  float eps;
  int32_t bfloat16;
} step_compress;

typedef struct {  // chooses the entries with the best Σ_h weights[h] relu(q[h] · entry)
  const float *q, *weights;  // [heads][dim], [heads]
  const void* entries;
  int32_t* chosen;  // [windows]; the first `count` are the choice
  float* scores;    // [windows]
  int64_t* count;
  int64_t heads, dim, stride, rate, top;
  int32_t bfloat16;
} step_choose;

typedef struct {  // copies the last `window` tokens' vectors and the entries to `keys`
  const void *recent, *entries;  // caches of one head; entries may be null
  const int32_t* chosen;         // of `step_choose`, with its count; or null: all entries
  const int64_t* chosen_count;
  float* keys;     // [window + windows][dim]
  int64_t* count;  // how many there are
  int64_t window, rate, dim, recent_stride, entry_stride;
  int32_t bfloat16;
} step_gather;
}

namespace {

void copy_vector(const void* cache, int64_t start, int32_t bfloat16, int64_t n, float* to) {
  if (!bfloat16) {
    std::memcpy(to, static_cast<const float*>(cache) + start, n * sizeof *to);
    return;
  }
  const uint16_t* from = static_cast<const uint16_t*>(cache) + start;
  for (int64_t i = 0; i < n; i++) to[i] = of(from[i]);
}

void write_vector(const float* from, int64_t n, void* cache, int64_t start, int32_t bfloat16) {
  if (!bfloat16) {
    std::memcpy(static_cast<float*>(cache) + start, from, n * sizeof *from);
    return;
  }
  uint16_t* to = static_cast<uint16_t*>(cache) + start;
  for (int64_t i = 0; i < n; i++) to[i] = to_bfloat16(from[i]);
}

void turn_pairs(float* x, const float* turn, int64_t n) {
  for (int64_t i = 0; i < n; i += 2) {
    const float a = x[i], b = x[i + 1];
    x[i] = a * turn[i] - b * turn[i + 1];
    x[i + 1] = b * turn[i] + a * turn[i + 1];
  }
}

// The mean of the tokens of a window, whose weights are a softmax for each channel.
EACH_LEVEL void weigh_window(const step_compress& a, int64_t window, float* entry,
                             float* largest, float* total) {
  const int64_t dim = a.dim, width = dim * (1 + a.overlap);
  const int64_t first = a.overlap && window > 0 ? 0 : a.rate;  // the previous window, or not
  for (int64_t i = 0; i < dim; i++) largest[i] = -INFINITY, total[i] = entry[i] = 0;
  // The first pass finds the largest gate of each channel, the second one adds up.
  for (int pass = 0; pass < 2; pass++)
    for (int64_t row = first; row < 2 * a.rate; row++) {
      // the previous window is read in the first half of the channels, this one in the second
      const int64_t j = row % a.rate, channel = row < a.rate ? 0 : a.overlap * dim;
      const int64_t position = (window - 1) * a.rate + row;
      const float* content = a.tokens + position % (2 * a.rate) * 2 * width + channel;
      const float *gate = content + width, *bias = a.bias + j * width + channel;
      if (pass == 0)
        for (int64_t i = 0; i < dim; i++) largest[i] = std::max(largest[i], gate[i] + bias[i]);
      else
        for (int64_t i = 0; i < dim; i++) {
          const float weight = exponential(gate[i] + bias[i] - largest[i]);
          total[i] += weight, entry[i] += weight * content[i];
        }
    }
  for (int64_t i = 0; i < dim; i++) entry[i] /= total[i];
}

void compress(const step_compress& a, int64_t position) {
  const int64_t width = a.dim * (1 + a.overlap), window = position / a.rate;
  float* slot = a.tokens + position % (2 * a.rate) * 2 * width;
  std::memcpy(slot, a.both, 2 * width * sizeof *slot);
  if ((position + 1) % a.rate) return;  // the window is not complete yet
  float* entry = a.scratch;
  weigh_window(a, window, entry, entry + a.dim, entry + 2 * a.dim);
  const float squares =
      sum_of(a.dim, [=](int64_t i) INLINE_LAMBDA { return entry[i] * entry[i]; });
  const float factor = 1 / std::sqrt(squares / a.dim + a.eps);
  for (int64_t i = 0; i < a.dim; i++) entry[i] *= factor * a.weight[i];
  // an entry has the position of its window's first token
  turn_pairs(entry + a.dim - a.rope, a.turns + window * a.rate * a.rope, a.rope);
  write_vector(entry, a.dim, a.entries, window * a.stride, a.bfloat16);
}

template <typename T>
INLINE void score_entries(const step_choose& a, int64_t n) {
  const T* entry = static_cast<const T*>(a.entries);
  for (int64_t w = 0; w < n; w++, entry += a.stride) {
    float score = 0;
    for (int64_t h = 0; h < a.heads; h++)
      score += a.weights[h] * std::max(dot(a.q + h * a.dim, entry, a.dim), 0.0f);
    a.scores[w] = score;
  }
}

EACH_LEVEL void score_float(const step_choose& a, int64_t n) { score_entries<float>(a, n); }
EACH_LEVEL void score_bfloat16(const step_choose& a, int64_t n) { score_entries<uint16_t>(a, n); }

void choose(const step_choose& a, int64_t position) {
  const int64_t n = (position + 1) / a.rate, top = std::min(a.top, n);
  for (int64_t w = 0; w < n; w++) a.chosen[w] = int32_t(w);
  *a.count = top;
  if (top == n) return;
  (a.bfloat16 ? score_bfloat16 : score_float)(a, n);
  const float* scores = a.scores;  // ties go to the earlier entry
  std::partial_sort(a.chosen, a.chosen + top, a.chosen + n, [=](int32_t i, int32_t j) {
    return scores[i] > scores[j] || (scores[i] == scores[j] && i < j);
  });
}

void gather(const step_gather& a, int64_t position) {
  int64_t n = 0;
  for (int64_t p = std::max<int64_t>(0, position - a.window + 1); p <= position; p++)
    copy_vector(a.recent, p * a.recent_stride, a.bfloat16, a.dim, a.keys + n++ * a.dim);
  const int64_t some = !a.entries ? 0 : a.chosen ? *a.chosen_count : (position + 1) / a.rate;
  for (int64_t i = 0; i < some; i++) {
    const int64_t w = a.chosen ? a.chosen[i] : i;
    copy_vector(a.entries, w * a.entry_stride, a.bfloat16, a.dim, a.keys + n++ * a.dim);
  }
  *a.count = n;
}

}  // namespace
