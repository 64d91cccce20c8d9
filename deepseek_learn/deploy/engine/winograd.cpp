// One variant of the Winograd convolution; WINOGRAD_VARIANT is its name.
//
// Everything else has internal linkage, because the linker must not mix up functions that were
// compiled for different processors.
#include "winograd.h"

#include <cstring>
#include <utility>

namespace winograd {
namespace {

// kColumns vectors of tiles times kRows output channels fill the registers.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kColumns = 3, kRows = 8;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kColumns = 2, kRows = 6;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kColumns = 3, kRows = 8;
#else
constexpr int kLanes = 4, kColumns = 2, kRows = 4;
#endif

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));
typedef float Loose __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
inline void store(float* to, Vector values) { *reinterpret_cast<Loose*>(to) = values; }

// ---------------------------------------------------------------- order within vectors

using Lanes = std::make_integer_sequence<int, kLanes>;

// 0 2 4 ... or 1 3 5 ... of the 2 * kLanes numbers in a and b
template <int start, int... i>
inline Vector every_second(Vector a, Vector b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (start + 2 * i)...);
}
inline Vector even(Vector a, Vector b) { return every_second<0>(a, b, Lanes()); }
inline Vector odd(Vector a, Vector b) { return every_second<1>(a, b, Lanes()); }

// a0 b0 a1 b1 ... from the first or the second half of a and b
template <int start, int... i>
inline Vector interleaved(Vector a, Vector b, std::integer_sequence<int, i...>) {
  return __builtin_shufflevector(a, b, (start + i / 2 + i % 2 * kLanes)...);
}
inline Vector low(Vector a, Vector b) { return interleaved<0>(a, b, Lanes()); }
inline Vector high(Vector a, Vector b) { return interleaved<kLanes / 2>(a, b, Lanes()); }

// ---------------------------------------------------------------- F(2 x 2, 3 x 3)

struct Small {
  static constexpr int tile = 2, side = 4;

  // columns[j][i] = line[tile * i + j] for j < tile
  static void split(const float* line, Vector* columns) {
    const Vector a = load(line), b = load(line + kLanes);
    columns[0] = even(a, b), columns[1] = odd(a, b);
  }
  // the inverse of split
  static void merge(const Vector* columns, float* line) {
    store(line, low(columns[0], columns[1])), store(line + kLanes, high(columns[0], columns[1]));
  }
  // t = B^T d
  template <class V>
  static void transform_input(const V* d, V* t) {
    t[0] = d[0] - d[2], t[1] = d[1] + d[2];
    t[2] = d[2] - d[1], t[3] = d[1] - d[3];
  }
  // y = A^T m
  static void transform_output(const Vector* m, Vector* y) {
    y[0] = m[0] + m[1] + m[2], y[1] = m[1] - m[2] - m[3];
  }
  // u = G g
  static void transform_weight(const double* g, double* u) {
    u[0] = g[0], u[1] = (g[0] + g[1] + g[2]) / 2;
    u[2] = (g[0] - g[1] + g[2]) / 2, u[3] = g[2];
  }
};

// ---------------------------------------------------------------- F(4 x 4, 3 x 3)

struct Large {
  static constexpr int tile = 4, side = 6;

  static void split(const float* line, Vector* columns) {
    const Vector a = load(line), b = load(line + kLanes);
    const Vector c = load(line + 2 * kLanes), d = load(line + 3 * kLanes);
    const Vector p = even(a, b), q = even(c, d), r = odd(a, b), s = odd(c, d);
    columns[0] = even(p, q), columns[2] = odd(p, q);
    columns[1] = even(r, s), columns[3] = odd(r, s);
  }
  static void merge(const Vector* columns, float* line) {
    const Vector p = low(columns[0], columns[2]), q = high(columns[0], columns[2]);
    const Vector r = low(columns[1], columns[3]), s = high(columns[1], columns[3]);
    store(line, low(p, r)), store(line + kLanes, high(p, r));
    store(line + 2 * kLanes, low(q, s)), store(line + 3 * kLanes, high(q, s));
  }
  template <class V>
  static void transform_input(const V* d, V* t) {
    const V a = d[4] - 4 * d[2], b = d[3] - 4 * d[1];
    const V c = d[4] - d[2], e = 2 * (d[3] - d[1]);
    t[0] = 4 * (d[0] - d[2]) + c;
    t[1] = a + b;
    t[2] = a - b;
    t[3] = c + e;
    t[4] = c - e;
    t[5] = 4 * (d[1] - d[3]) + (d[5] - d[3]);
  }
  static void transform_output(const Vector* m, Vector* y) {
    const Vector a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    y[0] = m[0] + a + c;
    y[1] = b + 2 * d;
    y[2] = a + 4 * c;
    y[3] = b + 8 * d + m[5];
  }
  static void transform_weight(const double* g, double* u) {
    const double even = g[0] + g[2], wide = g[0] + 4 * g[2];
    u[0] = g[0] / 4;
    u[1] = -(even + g[1]) / 6;
    u[2] = -(even - g[1]) / 6;
    u[3] = (wide + 2 * g[1]) / 24;
    u[4] = (wide - 2 * g[1]) / 24;
    u[5] = g[2];
  }
};

// ---------------------------------------------------------------- the weights

// [outputs, inputs, 3, 3] to [side * side, padded / kRows, inputs, kRows]
template <class F>
void prepare(const float* weights, const Layer& layer, float* to) {
  const size_t point = size_t(layer.padded) * layer.inputs;
  std::memset(to, 0, F::side * F::side * point * sizeof(float));
  for (int o = 0; o < layer.outputs; ++o)
    for (int c = 0; c < layer.inputs; ++c) {
      const float* g = weights + (size_t(o) * layer.inputs + c) * 9;
      double half[3][F::side];
      for (int j = 0; j < 3; ++j) {
        const double column[3] = {g[j], g[3 + j], g[6 + j]};
        F::transform_weight(column, half[j]);
      }
      float* place = to + (size_t(o / kRows) * layer.inputs + c) * kRows + o % kRows;
      for (int i = 0; i < F::side; ++i) {
        const double row[3] = {half[0][i], half[1][i], half[2][i]};
        double u[F::side];
        F::transform_weight(row, u);
        for (int j = 0; j < F::side; ++j) place[(i * F::side + j) * point] = float(u[j]);
      }
    }
}

// ---------------------------------------------------------------- one part of an image

// Writes B^T d B of one channel, point by point; tile t of the part is number t.
template <class F>
void take(const float* x, const Picture& picture, const Part& part, float* tiles,
          const Scratch& scratch) {
  const int first = part.left * F::tile - 1;  // the column of the image where the lines begin
  const int from = first < 0 ? 0 : first;
  const int end = part.right * F::tile + 1, to = end < picture.width ? end : picture.width;
  const size_t length = scratch.length;
  for (int k = 0; k < F::side; ++k) {  // the columns outside of the image
    float* line = scratch.lines + k * length;
    line[0] = 0;
    std::memset(line + to - first, 0, (length - (to - first)) * sizeof(float));
  }
  std::memset(scratch.zeros, 0, picture.width * sizeof(float));
  for (int row = part.top; row < part.bottom; ++row) {
    const float* rows[F::side];
    for (int k = 0; k < F::side; ++k) {
      const int at = row * F::tile - 1 + k;
      const bool inside = at >= 0 && at < picture.height;
      rows[k] = inside ? x + size_t(at) * picture.width : scratch.zeros;
    }
    int i = from;
    for (; i + kLanes <= to; i += kLanes) {
      Vector d[F::side], t[F::side];
      for (int k = 0; k < F::side; ++k) d[k] = load(rows[k] + i);
      F::transform_input(d, t);
      for (int k = 0; k < F::side; ++k) store(scratch.lines + k * length + i - first, t[k]);
    }
    for (; i < to; ++i) {
      float d[F::side], t[F::side];
      for (int k = 0; k < F::side; ++k) d[k] = rows[k][i];
      F::transform_input(d, t);
      for (int k = 0; k < F::side; ++k) scratch.lines[k * length + i - first] = t[k];
    }
    float* place = tiles + (row - part.top) * part.across();
    for (int k = 0; k < F::side; ++k)
      for (int tile = 0; tile < part.across(); tile += kLanes) {
        const float* line = scratch.lines + k * length + tile * F::tile;
        Vector d[F::side], t[F::side], next[F::tile];
        F::split(line, d);
        F::split(line + F::tile, next);
        d[F::tile] = next[0], d[F::tile + 1] = next[1];
        F::transform_input(d, t);
        // may write over the beginning of the next row of tiles, which comes later
        for (int j = 0; j < F::side; ++j) store(place + (k * F::side + j) * scratch.in + tile, t[j]);
      }
  }
}

// products[row] = weights tiles, for `panels` times kRows rows and `n` vectors of tiles
template <int panels, int n>
inline void multiply(const float* weights, const float* tiles, float* products, size_t span,
                     int inputs) {
  Vector sums[panels * kRows][n] = {};
  for (int c = 0; c < inputs; ++c) {
    Vector columns[n];
    for (int j = 0; j < n; ++j) columns[j] = load(tiles + c * span + j * kLanes);
    for (int p = 0; p < panels; ++p)
      for (int r = 0; r < kRows; ++r) {
        const float weight = weights[(size_t(p) * inputs + c) * kRows + r];
        for (int j = 0; j < n; ++j) sums[p * kRows + r][j] += weight * columns[j];
      }
  }
  for (int r = 0; r < panels * kRows; ++r)
    for (int j = 0; j < n; ++j) store(products + r * span + j * kLanes, sums[r][j]);
}

template <int panels, int n>
void multiply_all(const Layer& layer, const float* weights, const float* tiles, float* products,
                  size_t span) {
  const size_t row = layer.inputs;  // weights per output channel
  int o = 0;
  for (; o + panels * kRows <= layer.padded; o += panels * kRows)
    multiply<panels, n>(weights + o * row, tiles, products + o * span, span, layer.inputs);
  for (; o < layer.padded; o += kRows)
    multiply<1, n>(weights + o * row, tiles, products + o * span, span, layer.inputs);
}

// Writes A^T m A of one channel, plus the bias, to the image.
template <class F>
void give(const float* products, size_t point, const Layer& layer, int channel, const Part& part,
          const Picture& picture) {
  float* y = picture.y + size_t(channel) * picture.height * picture.width;
  for (int row = part.top; row < part.bottom; ++row)
    for (int tile = 0; tile < part.across(); tile += kLanes) {
      const float* from = products + (row - part.top) * part.across() + tile;
      Vector half[F::tile][F::side];
      for (int j = 0; j < F::side; ++j) {
        Vector m[F::side], column[F::tile];
        for (int i = 0; i < F::side; ++i) m[i] = load(from + (i * F::side + j) * point);
        F::transform_output(m, column);
        for (int i = 0; i < F::tile; ++i) half[i][j] = column[i];
      }
      const int x = (part.left + tile) * F::tile;
      int count = F::tile * kLanes;
      if (count > (part.across() - tile) * F::tile) count = (part.across() - tile) * F::tile;
      if (count > picture.width - x) count = picture.width - x;
      for (int i = 0; i < F::tile && row * F::tile + i < picture.height; ++i) {
        Vector columns[F::tile];
        F::transform_output(half[i], columns);
        for (Vector& values : columns) {
          values += layer.bias[channel];
          if (layer.relu) values = values < 0 ? Vector{} : values;  // NaN stays NaN
        }
        float* to = y + size_t(row * F::tile + i) * picture.width + x;
        float line[F::tile * kLanes];
        const bool whole = count == F::tile * kLanes;
        F::merge(columns, whole ? to : line);
        if (!whole) std::memcpy(to, line, count * sizeof(float));
      }
    }
}

template <class F>
void run(const Layer& layer, const Picture& picture, const Part& part, const Scratch& scratch) {
  const size_t size = size_t(picture.height) * picture.width, span = scratch.span;
  for (int c = 0; c < layer.inputs; ++c) {
    const int over = c - picture.first;
    const float* x = over < 0 ? picture.x + c * size : picture.rest + over * size;
    take<F>(x, picture, part, scratch.tiles + c * span, scratch);
  }
  const int vectors = (part.tiles() + kLanes - 1) / kLanes;
  for (int k = 0; k < F::side * F::side; ++k) {
    const float* weights = layer.weights + size_t(k) * layer.padded * layer.inputs;
    const float* tiles = scratch.tiles + k * scratch.in;
    float* products = scratch.products + k * scratch.out;
    int done = 0;
    for (; done + kColumns <= vectors; done += kColumns)
      multiply_all<1, kColumns>(layer, weights, tiles + done * kLanes, products + done * kLanes,
                                span);
    if (kColumns > 2 && vectors - done == 2)
      multiply_all<1, 2>(layer, weights, tiles + done * kLanes, products + done * kLanes, span);
    else if (vectors - done == 1)
      multiply_all<2, 1>(layer, weights, tiles + done * kLanes, products + done * kLanes, span);
  }
  for (int o = 0; o < layer.outputs; ++o)
    give<F>(scratch.products + o * span, scratch.out, layer, o, part, picture);
}

}  // namespace

extern const Variant WINOGRAD_VARIANT;
const Variant WINOGRAD_VARIANT{
    kLanes, kRows, {prepare<Small>, run<Small>}, {prepare<Large>, run<Large>}};

}  // namespace winograd
