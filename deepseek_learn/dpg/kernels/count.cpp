// Counting at how many positions each neuron is active, with or without computing the ReLU.

namespace {

EACH_LEVEL int32_t above_zero(const float* y, int64_t n) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; i++) count += y[i] > 0;
  return count;
}

// counts[i] += the number of rows of y in which column i is above zero
EACH_LEVEL void add_above_zero(const float* y, int64_t rows, int64_t stride, int64_t n,
                               int32_t* counts) {
  for (; rows >= 4; rows -= 4) {
    const float* a = y + (rows - 4) * stride;
    const float *b = a + stride, *c = b + stride, *d = c + stride;
    for (int64_t i = 0; i < n; i++)
      counts[i] += (a[i] > 0) + (b[i] > 0) + (c[i] > 0) + (d[i] > 0);
  }
  for (; rows > 0; rows--)
    for (int64_t i = 0; i < n; i++) counts[i] += y[(rows - 1) * stride + i] > 0;
}

// y = x between 0 and upper, and as above_zero; NaN stays NaN
EACH_LEVEL int32_t clamp_above_zero(const float* x, float* y, int64_t n, float upper) {
  int32_t count = 0;
  for (int64_t i = 0; i < n; i++) {
    const float value = x[i], above = value < 0 ? 0 : value;
    count += value > 0;
    y[i] = above > upper ? upper : above;
  }
  return count;
}

EACH_LEVEL void clamp_add_above_zero(const float* x, float* y, int64_t n, float upper,
                                     int32_t* counts) {
  for (int64_t i = 0; i < n; i++) {
    const float value = x[i], above = value < 0 ? 0 : value;
    counts[i] += value > 0;
    y[i] = above > upper ? upper : above;
  }
}

}  // namespace

extern "C" {
// Adds the number of values above zero in x[outer][n][inner] to counts[n], where inner is below
// 2^31, and writes max(0, min(x, upper)) to y, which may be x; without y it only counts. It goes
// from the end to the beginning: what was written last is still in the cache.
void dpg_count_active(const float* x, int64_t outer, int64_t neurons, int64_t inner,
                      int64_t* counts, float* y, float upper) {
  constexpr int64_t COLUMNS = 1024, ROWS = 64;
  for (int64_t o = outer; inner > 1 && o-- > 0;)
    for (int64_t n = neurons; n-- > 0;) {
      const int64_t at = (o * neurons + n) * inner;
      counts[n] += y ? clamp_above_zero(x + at, y + at, inner, upper) : above_zero(x + at, inner);
    }
  for (int64_t last = outer; inner == 1 && last > 0;) {
    const int64_t first = last > ROWS ? last - ROWS : 0;
    for (int64_t column = 0; column < neurons; column += COLUMNS) {
      int32_t part[COLUMNS] = {};
      const int64_t n = neurons - column < COLUMNS ? neurons - column : COLUMNS;
      const int64_t at = first * neurons + column;
      if (!y) add_above_zero(x + at, last - first, neurons, n, part);
      for (int64_t row = last - first; y && row-- > 0;)
        clamp_add_above_zero(x + at + row * neurons, y + at + row * neurons, n, upper, part);
      for (int64_t i = 0; i < n; i++) counts[column + i] += part[i];
    }
    last = first;
  }
}
}
