// A 3 x 3 convolution with stride 1 and padding 1 by Winograd's F(4 x 4, 3 x 3) or F(2 x 2, 3 x 3).
//
//   y = A^T [ sum over inputs of (G g G^T) * (B^T d B) ] A
//
// turns a tile of 6 x 6 inputs d and a filter g into 4 x 4 outputs with 36 multiplications
// instead of 144, or 4 x 4 inputs into 2 x 2 outputs with 16 instead of 36. For each of these 36
// or 16 points, all tiles and channels form a matrix product.
// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace winograd {

// Whole rows of tiles of an image, from one column of tiles up to another.
struct Part {
  int top, bottom, left, right;
  int across() const { return right - left; }
  int tiles() const { return (bottom - top) * across(); }
};

struct Layer {
  int tile;                     // 2 or 4, the side of a tile of outputs
  int inputs, outputs, padded;  // channels; `padded` is a multiple of the variant's `rows`
  const float *weights, *bias;  // weights as written by `prepare`
  bool relu;
};

struct Picture {
  const float *x, *rest;  // [first, height, width] and [inputs - first, height, width]
  int first;
  float* y;  // [outputs, height, width]
  int height, width;
};

// Memory that `run` writes to: `tiles` [points, inputs, span], `products` [points, padded, span]
// with `in` and `out` numbers from one point to the next, `lines` [tile + 2, length], `zeros`
// [width].
struct Scratch {
  float *tiles, *products, *lines, *zeros;
  size_t span, in, out, length;
};

struct Functions {
  void (*prepare)(const float* weights, const Layer& layer, float* to);
  void (*run)(const Layer& layer, const Picture& picture, const Part& part, const Scratch& to);
};

// The same code, compiled for one kind of processor.
struct Variant {
  int lanes, rows;  // numbers per vector; output channels that are computed together
  Functions tile_2, tile_4;
};

extern const Variant portable;
#ifdef WINOGRAD_X86
extern const Variant avx2, avx512;
#endif

// The fastest variant for this processor, or the one that the environment variable names.
inline const Variant& variant() {
  const char* asked = std::getenv("ENGINE_WINOGRAD");
  const std::string name = asked ? asked : "";
  if (name == "portable") return portable;
#ifdef WINOGRAD_X86
  __builtin_cpu_init();
  const bool has_avx512 = __builtin_cpu_supports("avx512f");
  if (has_avx512 && name != "avx2") return avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2;
#endif
  return portable;
}

inline int round_up(int n, int step) { return (n + step - 1) / step * step; }

class Convolution {
 public:
  // weights: [outputs, inputs, 3, 3]; bias: [outputs]; tile: 2 or 4
  Convolution(const float* weights, const float* bias, int outputs, int inputs, int tile, bool relu)
      : functions_(tile == 2 ? variant_.tile_2 : variant_.tile_4),
        points_((tile + 2) * (tile + 2)),
        bias_(bias, bias + outputs) {
    const int padded = round_up(outputs, variant_.rows);
    weights_.resize(size_t(points_) * padded * inputs);
    layer_ = {tile, inputs, outputs, padded, weights_.data(), bias_.data(), relu};
    functions_.prepare(weights, layer_, weights_.data());
  }
  Convolution(const Convolution&) = delete;

  int inputs() const { return layer_.inputs; }
  int outputs() const { return layer_.outputs; }

  // Parts of an image that can be computed independently, of about kBytes in `tiles` and
  // `products` each.
  std::vector<Part> parts(int height, int width) const {
    const int tile = layer_.tile;
    const int down = (height + tile - 1) / tile, across = (width + tile - 1) / tile;
    const int bytes = sizeof(float) * points_ * (layer_.inputs + layer_.padded);
    const int most = std::max(48, kBytes / bytes);
    const int columns = std::min(across, std::max(128, most));
    const int count = std::max(1, (2 * down * columns + most) / (2 * most));  // rounded
    const int rows = (down + count - 1) / count;
    std::vector<Part> found;
    for (int top = 0; top < down; top += rows)
      for (int left = 0; left < across; left += columns)
        found.push_back({top, std::min(down, top + rows), left, std::min(across, left + columns)});
    return found;
  }

  void run(const Picture& picture, const Part& part) const {
    thread_local std::vector<float> tiles, products, lines, zeros;
    // vectors are read and written whole, so the last one may reach over the end
    const size_t span = round_up(part.tiles(), variant_.lanes) + variant_.lanes;
    const size_t length = layer_.tile * round_up(part.across(), variant_.lanes) + 2 * variant_.lanes;
    // the points must not begin at the same place of a memory page, or they evict each other
    const size_t in = span * layer_.inputs + kLine, out = span * layer_.padded + kLine;
    const Scratch to{grown(tiles, points_ * in),
                     grown(products, points_ * out),
                     grown(lines, (layer_.tile + 2) * length),
                     grown(zeros, picture.width),
                     span,
                     in,
                     out,
                     length};
    functions_.run(layer_, picture, part, to);
  }

 private:
  static constexpr int kBytes = 1536 << 10;
  static constexpr size_t kLine = 64 / sizeof(float);  // numbers in a cache line
  const Variant& variant_ = variant();
  const Functions& functions_;
  int points_;
  std::vector<float> weights_, bias_;
  Layer layer_{};

  // memory that begins with a cache line
  static float* grown(std::vector<float>& memory, size_t size) {
    if (memory.size() < size + kLine) memory.resize(size + kLine);
    const size_t at = reinterpret_cast<uintptr_t>(memory.data()) / sizeof(float);
    return memory.data() + (kLine - at % kLine) % kLine;
  }
};

}  // namespace winograd
