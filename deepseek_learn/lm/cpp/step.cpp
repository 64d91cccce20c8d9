// One token through a language model: packed products, and what stands between them.
//
// lm/decoding.py lists the operations of a model once, in order, as `step_operation`s on memory
// that stays where it is. `step_run` executes the list for one token, so that a token costs one
// call from Python and not one per operation.
//
// As in planes.cpp, every instruction set adds the same floats in the same order, and the result
// does not depend on the number of threads.

#include "../../dpg/kernels/planes.cpp"
#include "operations.h"

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
    const int64_t start = h * s.head_stride + position % s.length * s.token_stride;
    if (!s.bfloat16) {
      std::memcpy(static_cast<float*>(s.cache) + start, x, s.dim * sizeof *x);
      continue;
    }
    uint16_t* to = static_cast<uint16_t*>(s.cache) + start;
    for (int64_t i = 0; i < s.dim; i++) to[i] = to_bfloat16(x[i]);
  }
}

}  // namespace

#include "attend.cpp"

namespace {

EACH_LEVEL void gate(const step_gate& a) {
  const float factor = a.factor ? *a.factor : 1.0f;
  if (a.kind == 0)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = a.x[i] / (1 + exponential(-a.x[i]));
  if (a.kind == 1)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = std::max(a.x[i], 0.0f);
  if (a.kind == 2)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = a.x[i] * 0.5f * (1 + std::erf(a.x[i] * 0.70710678f));
  if (a.kind == 3)
    for (int64_t i = 0; i < a.n; i++) {
      const float x = a.x[i], inner = 0.79788456f * (x + 0.044715f * x * x * x);
      a.y[i] = x * 0.5f * (1 + std::tanh(inner));
    }
  if (a.kind == 4)
    for (int64_t i = 0; i < a.n; i++) a.y[i] = std::tanh(a.x[i]);
  if (a.kind == 5 && a.y != a.x) std::memcpy(a.y, a.x, a.n * sizeof *a.x);
  for (int64_t i = 0; i < a.n; i++) a.y[i] *= (a.up ? a.up[i] : 1.0f) * factor;
}

EACH_LEVEL void add(const step_add& a) {
  for (int64_t i = 0; i < a.n; i++) a.y[i] += a.x[i];
}

// Adds the weights of one stored row of a segment to y.
void add_row(const step_lookup& a, const dpg_segment& s, int64_t row) {
  const int64_t block = row / ROWS, groups = a.padded_columns / a.G;
  for (int64_t g = 0; g < groups; g++) {
    const float scale = of(s.scale[g * s.rows + row]) * s.step;  // one per group
    const int64_t end = std::min((g + 1) * a.G, a.columns);
    for (int64_t k = g * a.G; k < end; k++) {
      int code = 0;  // put together from the planes in use, high bits first
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

// Takes the experts of all but the best groups out of the choice. The arrays' sizes are
// MOST_GROUPS and MOST_EXPERTS in program.py, which refuses more.
void only_the_best_groups(const step_route& r) {
  const int64_t size = r.experts / r.groups;
  float value[256], copy[1024];
  std::memcpy(copy, r.biased, r.experts * sizeof *copy);
  // a group is worth the sum of its best few; `copy`, since `take_best` marks what it takes
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
  // 1. Scores from logits. Softmax subtracts the largest; for softplus, x > 20 is its own value in
  // float32, and e^x would overflow later on.
  float largest = r.scores[0], total = 0;
  for (int64_t e = 0; e < r.experts; e++) largest = std::max(largest, r.scores[e]);
  for (int64_t e = 0; e < r.experts; e++) {
    const float x = r.scores[e];
    if (r.scoring == 0) r.scores[e] = 1 / (1 + std::exp(-x));
    if (r.scoring == 1) total += r.scores[e] = std::exp(x - largest);
    if (r.scoring == 2) r.scores[e] = std::sqrt(x > 20 ? x : std::log1p(std::exp(x)));
  }
  // 2. The bias counts for the choice only, so that the scores stay as they are.
  for (int64_t e = 0; e < r.experts; e++) {
    if (r.scoring == 1) r.scores[e] /= total;
    r.biased[e] = r.scores[e] + (r.bias ? r.bias[e] : 0);
  }
  if (r.top_groups < r.groups) only_the_best_groups(r);
  // 3. Choose the best, and take their weights from the scores without the bias.
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
        const int64_t past = std::min(position + 1, attention.length);
        attend(attention, attention.seen ? *attention.seen : past, threads);
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
          *e.factor = e.weights[j];  // the expert's program multiplies by it at its gate
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
