// The arguments of the operations, as in operations.py, which writes them by position.

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

typedef struct {  // writes the heads of the new token into a cache, [heads][length][width]; the
                  // place of a token is its position modulo `length`
  const float* x;
  void* cache;
  int64_t heads, dim, length, x_stride, head_stride, token_stride;
  int32_t bfloat16;
} step_store;

typedef struct {  // y[h] = Σ_s softmax_s(scale q[h] · k[s]) v[s] over the tokens so far, at most
                  // `length`, or over the first *seen; sinks[h] is one more score, with the value 0
  const float* q;  // [heads][key_dim]
  const void *keys, *values;  // the cache of `step_store`; `heads / groups` heads share a group
  float *y, *parts;           // [heads][value_dim]; [tasks][heads / groups][2 + value_dim]
  const int64_t* seen;        // or null
  const float* sinks;         // [heads] or null
  int64_t heads, groups, key_dim, value_dim, length;
  int64_t key_head, key_token, value_head, value_token;  // strides
  float scale;
  int32_t bfloat16;
} step_attend;

typedef struct {  // y = f(x) * up * factor, element by element; up may be null, factor points to
  const float *x, *up, *factor;  // one number or is null
  float* y;
  int64_t n;
  int32_t kind;  // 0: SiLU, 1: ReLU, 2: GELU, 3: GELU by tanh, 4: tanh, 5: x itself
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
