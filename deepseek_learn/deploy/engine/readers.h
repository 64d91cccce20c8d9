// The engine's readers and writers for .npy files, and its reader for images.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_FAILURE_USERMSG  // "corrupt PNG" rather than "outofdata"
#define STBI_NO_HDR
#define STBI_NO_LINEAR
#include "stb_image.h"

#include "sha256.h"

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Shape = std::vector<int64_t>;

// ---------------------------------------------------------------- errors and numbers

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw Error(text.str());
}

// 8 GiB of float32. A header that declares more elements is considered corrupted.
constexpr int64_t kMostElements = int64_t{1} << 31;

// Returns the number of elements, and rejects negative and oversized shapes.
int64_t count(const Shape& shape, const std::string& whose) {
  int64_t n = 1;
  for (int64_t size : shape) {
    if (size < 0) fail(whose, " has a negative dimension in its shape.");
    if (size && n > kMostElements / size)
      fail(whose, " has more than 2^31 elements, which is the limit.");
    n *= size;
  }
  return n;
}

std::string text(const Shape& shape) {
  std::ostringstream out;
  out << "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) out << ", ";
    if (shape[i] < 0)
      out << "any";
    else
      out << shape[i];
  }
  out << "]";
  return out.str();
}

// ---------------------------------------------------------------- tensors and .npy

enum class Type { f32, u8, i64, i32, b8 };

struct TypeFacts {
  Type type;
  const char* name;
  const char* npy;  // NumPy's dtype string
  size_t bytes;
};
constexpr TypeFacts kTypes[] = {{Type::f32, "float32", "<f4", 4},
                                {Type::u8, "uint8", "|u1", 1},
                                {Type::i64, "int64", "<i8", 8},
                                {Type::i32, "int32", "<i4", 4},
                                {Type::b8, "bool", "|b1", 1}};

const TypeFacts& facts(Type type) { return kTypes[static_cast<int>(type)]; }

struct Tensor {
  Type type = Type::f32;
  Shape shape;
  std::vector<unsigned char> bytes;

  float* f32() { return reinterpret_cast<float*>(bytes.data()); }
  // The runtimes require a non-null address, even if the tensor has no elements.
  void* data() {
    static uint64_t nothing = 0;
    return bytes.empty() ? static_cast<void*>(&nothing) : bytes.data();
  }
  void fill(const void* from) {
    if (!bytes.empty()) std::memcpy(bytes.data(), from, bytes.size());
  }
  double at(int64_t i) const {
    const unsigned char* p = bytes.data() + i * facts(type).bytes;
    switch (type) {
      case Type::u8:
      case Type::b8:
        return *p;
      case Type::f32: {
        float v;
        std::memcpy(&v, p, 4);
        return v;
      }
      case Type::i64: {
        int64_t v;
        std::memcpy(&v, p, 8);
        return double(v);
      }
      case Type::i32: {
        int32_t v;
        std::memcpy(&v, p, 4);
        return v;
      }
    }
    return 0;
  }
};

std::string text(Type type, const Shape& shape) {
  return std::string(facts(type).name) + " " + text(shape);
}

Tensor make_tensor(Type type, Shape shape, const std::string& whose) {
  Tensor made{type, std::move(shape), {}};
  made.bytes.resize(count(made.shape, whose) * facts(type).bytes);
  return made;
}

std::string read_file(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) fail(path.string(), " is not a file.");
  std::ifstream file(path, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), {}};
  if (!file && !file.eof()) fail(path.string(), " cannot be read.");
  return content;
}

// The checksums in MODEL.sha256, which has the format of sha256sum: a line "HEX  NAME" per file.
// The names are relative to the folder of MODEL.
class Checksums {
 public:
  // `advice` is the end of the messages.
  Checksums(const fs::path& model, const std::string& advice)
      : advice_(advice),
        file_(model.string() + ".sha256"),
        folder_(fs::weakly_canonical(fs::absolute(model).parent_path())),
        model_(model.filename().string()) {
    std::error_code error;
    if (!fs::exists(file_, error))
      fail(file_.string(), " is missing, so the model cannot be verified: ", advice_);
    std::istringstream lines(read_file(file_));
    for (std::string line; std::getline(lines, line);) {
      if (line.find_first_not_of("0123456789abcdef") != 64 || line.compare(64, 2, "  ") ||
          line.size() < 67)
        fail(file_.string(), " must contain SHA-256 checksums in the format of sha256sum; got \"",
             line.substr(0, 80), "\".");
      sums_[line.substr(66)] = line.substr(0, 64);
    }
  }

  // Verifies a file by its name in the list.
  void verify(const std::string& name) const {
    const std::string wanted = listed(name), path = (folder_ / name).string(),
                      found = sha256(path);
    if (found.empty()) fail(path, " cannot be read: ", advice_);
    if (found != wanted)
      fail(path, " is not the file that was deployed: its SHA-256 begins with ",
           found.substr(0, 8), ", but the one in ", file_.filename().string(), " begins with ",
           wanted.substr(0, 8), "; ", advice_);
  }

  // Verifies every other file that is listed. All files that a self-check reads must be listed.
  void verify_others(const fs::path& check) const {
    for (const auto& [name, sum] : sums_)
      if (name != model_) verify(name);
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(check, error))
      if (entry.path().extension() == ".npy")
        listed((fs::weakly_canonical(check) / entry.path().filename())
                   .lexically_relative(folder_)
                   .string());
  }

 private:
  std::string advice_;
  fs::path file_, folder_;
  std::string model_;
  std::map<std::string, std::string> sums_;

  const std::string& listed(const std::string& name) const {
    const auto sum = sums_.find(name);
    if (sum == sums_.end())
      fail(file_.string(), " does not list ", name, ", so it cannot be verified: ", advice_);
    return sum->second;
  }
};

// Returns the value of 'KEY' in a .npy header, without its delimiters `begin` and `end`.
std::string header_field(const std::string& header, const std::string& key, char begin, char end,
                         const std::string& whose) {
  size_t at = header.find("'" + key + "'");
  at = at == std::string::npos ? at : header.find(begin, at + key.size() + 2);
  size_t last = at == std::string::npos ? at : header.find(end, at + 1);
  if (last == std::string::npos) fail(whose, " has no field ", key, " in its .npy header.");
  return header.substr(at + 1, last - at - 1);
}

// Reads a .npy file, which must be in C order and have one of the dtypes in kTypes.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
Tensor read_npy(const fs::path& path) {
  const std::string whose = path.string(), content = read_file(path);
  if (content.size() < 10 || content.compare(0, 6, "\x93NUMPY") != 0)
    fail(whose, " is not a .npy file.");
  const auto byte = [&](size_t i) { return size_t(static_cast<unsigned char>(content[i])); };
  const bool old = byte(6) == 1;
  const size_t start = old ? 10 : 12;
  if (content.size() < start) fail(whose, " ends within its header.");
  size_t length = byte(8) | byte(9) << 8;
  if (!old) length |= byte(10) << 16 | byte(11) << 24;
  if (content.size() - start < length) fail(whose, " ends within its header.");
  const std::string header = content.substr(start, length);

  const std::string kind = header_field(header, "descr", '\'', '\'', whose);
  const auto found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const TypeFacts& t) { return kind == t.npy; });
  if (found == std::end(kTypes))
    fail(whose, " has the dtype ", kind,
         ", but the engine accepts only float32, uint8, int64, int32 and bool.");
  if (header.find("'fortran_order': False") == std::string::npos)
    fail(whose, " must be in C order; convert the array with numpy.ascontiguousarray.");
  Shape shape;
  std::stringstream sizes(header_field(header, "shape", '(', ')', whose));
  for (std::string size; std::getline(sizes, size, ',');) {
    if (size.find_first_not_of(" ") == std::string::npos) continue;
    char* end = nullptr;
    shape.push_back(std::strtoll(size.c_str(), &end, 10));
    if (*end) fail(whose, " has an invalid shape in its header: (", sizes.str(), ").");
  }
  const size_t wanted = size_t(count(shape, whose)) * found->bytes;
  if (content.size() - start - length != wanted)  // checked before allocating that much memory
    fail(whose, " must contain ", wanted, " bytes of data for the shape ", text(shape),
         "; it contains ", content.size() - start - length, ".");
  Tensor tensor = make_tensor(found->type, shape, whose);
  std::copy(content.begin() + long(start + length), content.end(), tensor.bytes.begin());
  if (tensor.type == Type::b8)  // the runtimes expect only the bytes 0 and 1
    for (unsigned char& byte : tensor.bytes) byte = byte != 0;
  return tensor;
}

// Writes the file atomically: writes a temporary file and then renames it.
void write_npy(const fs::path& path, const Tensor& tensor) {
  std::ostringstream head;
  head << "{'descr': '" << facts(tensor.type).npy << "', 'fortran_order': False, 'shape': (";
  for (int64_t size : tensor.shape) head << size << ",";
  head << "), }";
  std::string header = head.str();
  header.append(64 - (10 + header.size() + 1) % 64, ' ').append("\n");
  const fs::path temporary = path.string() + ".part";
  std::ofstream file(temporary, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(char(header.size() & 255)).put(char(header.size() >> 8));
  file << header;
  file.write(reinterpret_cast<const char*>(tensor.bytes.data()), long(tensor.bytes.size()));
  file.close();
  std::error_code error;
  if (file) fs::rename(temporary, path, error);
  if (!file || error) {
    fs::remove(temporary, error);
    fail(path.string(), " cannot be written.");
  }
}

// ---------------------------------------------------------------- images

struct Image {
  int64_t height = 0, width = 0, channels = 0;
  std::vector<unsigned char> pixels;  // height, width, channels
};

Image read_image(const fs::path& path) {
  const std::string content = read_file(path);
  if (content.size() > size_t(INT32_MAX))
    fail(path.string(), " must be smaller than 2 GiB to be read as an image; it has ",
         content.size(), " bytes.");
  int width = 0, height = 0, channels = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(content.data());
  unsigned char* pixels =
      stbi_load_from_memory(data, int(content.size()), &width, &height, &channels, 0);
  if (!pixels)
    fail(path.string(), " is neither a .npy file nor an image: ", stbi_failure_reason(), ".");
  const std::unique_ptr<unsigned char, void (*)(void*)> owner(pixels, stbi_image_free);
  Image image{height, width, channels, {}};
  image.pixels.assign(pixels, pixels + int64_t(height) * width * channels);
  return image;
}

// The image normalization stored in the model's metadata, for pixels in [0, 1].
struct Preparation {
  std::vector<float> mean{0.0f}, std{1.0f};  // one value per channel, or one for all channels
};

// Parses one or more comma-separated numbers. `expected` describes them in the error message.
std::vector<float> numbers(
    const std::string& list, const std::string& whose,
    const char* expected = "one or more finite numbers separated by commas") {
  std::vector<float> found;
  for (size_t begin = 0; begin != std::string::npos;) {
    const size_t comma = list.find(',', begin);
    const std::string part = list.substr(begin, comma == std::string::npos ? comma : comma - begin);
    char* end = nullptr;
    found.push_back(std::strtof(part.c_str(), &end));
    if (part.empty() || *end || !std::isfinite(found.back()))
      fail(whose, " must be ", expected, "; got \"", list, "\".");
    begin = comma == std::string::npos ? comma : comma + 1;
  }
  return found;
}

// Reads the normalization; `value(key)` returns an entry of the model's metadata, if it exists.
template <class Value>
Preparation read_preparation(const Value& value) {
  Preparation how;
  if (const auto mean = value("mean")) how.mean = numbers(*mean, "the model's mean");
  if (const auto std = value("std")) how.std = numbers(*std, "the model's std");
  if (*std::min_element(how.std.begin(), how.std.end()) <= 0)
    fail("the model's std must be above 0.");
  return how;
}

// Converts an image to a float32 tensor of shape [1, C, H, W]. The image is resized by bilinear
// interpolation with half-pixel centers, scaled to [0, 1], and normalized: (x - mean) / std.
Tensor prepare(const Image& image, const Shape& wanted, const Preparation& how,
               const std::string& whose) {
  if (wanted.size() != 4 || (wanted[1] != 1 && wanted[1] != 3))
    fail(whose, " is an image, but the model takes ", text(wanted),
         "; images are accepted only for [N, 1, H, W] and [N, 3, H, W], so pass a .npy file.");
  const int64_t C = wanted[1], H = wanted[2] < 0 ? image.height : wanted[2],
                W = wanted[3] < 0 ? image.width : wanted[3];
  for (const auto& [name, each] : {std::pair{"mean", &how.mean}, std::pair{"std", &how.std}})
    if (each->size() != 1 && int64_t(each->size()) != C)
      fail("the model's ", name, " must contain a single number or one per channel (", C, "); got ",
           each->size(), ".");
  if (image.channels < C)
    fail(whose, " is a grayscale image, but the model requires ", C, " channels.");
  Tensor made = make_tensor(Type::f32, {1, C, H, W}, whose);
  const auto place = [](int64_t i, int64_t to, int64_t from, int64_t& low, int64_t& high,
                        float& part) {
    const float at =
        std::clamp((float(i) + 0.5f) * float(from) / float(to) - 0.5f, 0.0f, float(from - 1));
    low = int64_t(at), high = std::min(low + 1, from - 1), part = at - float(low);
  };
  // a grayscale model gets the luma of a color image (ITU-R BT.601)
  const auto value = [&](int64_t y, int64_t x, int64_t c) {
    const auto* p = &image.pixels[size_t((y * image.width + x) * image.channels)];
    return C == 1 && image.channels >= 3 ? 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]
                                         : float(p[c]);
  };
  for (int64_t c = 0; c < C; ++c) {
    const float mean = how.mean[size_t(c) % how.mean.size()],
                std = how.std[size_t(c) % how.std.size()];
    for (int64_t y = 0; y < H; ++y)
      for (int64_t x = 0; x < W; ++x) {
        int64_t y0, y1, x0, x1;
        float fy, fx;
        place(y, H, image.height, y0, y1, fy);
        place(x, W, image.width, x0, x1, fx);
        const float top = value(y0, x0, c) * (1 - fx) + value(y0, x1, c) * fx;
        const float bottom = value(y1, x0, c) * (1 - fx) + value(y1, x1, c) * fx;
        made.f32()[(c * H + y) * W + x] = ((top * (1 - fy) + bottom * fy) / 255 - mean) / std;
      }
  }
  return made;
}
