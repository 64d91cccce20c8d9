// Reads photographs of parts as `factory/data.py` does, and rejects what cannot be judged.
#pragma once

#include "output.h"
#include "readers.h"

struct Part {
  int64_t height = 0, width = 0;
  std::vector<float> pixels;  // gray values from 0 to 1, row by row

  float at(int64_t y, int64_t x) const { return pixels[size_t(y * width + x)]; }
};

constexpr double kMegapixels = 64;   // larger images are rejected before they are decoded
constexpr size_t kLargestFile = size_t(1) << 30;  // bytes
constexpr int kSmallest = 32;        // pixels along each side
constexpr double kClipped = 0.5;     // reject if this fraction of the pixels is black or white
constexpr double kContrast = 0.004;  // the smallest standard deviation

// ---------------------------------------------------------------- the bytes of a file

// Reads an unsigned number of a few bytes; bytes beyond the end of the file count as zero.
inline size_t number_at(const std::string& file, size_t at, size_t bytes, bool little) {
  size_t value = 0;
  for (size_t i = 0; i < bytes; ++i) {
    const size_t place = little ? at + bytes - 1 - i : at + i;
    value = value << 8 | (place < file.size() ? (unsigned char)file[place] : 0u);
  }
  return value;
}

// Calls `visit(kind, place, length)` for the content of each segment of a JPEG file, and returns
// whether the file goes on to the end marker. The pixels stand between segments; a byte FF in
// them is followed by 00 or by a restart marker.
template <class Visit>
bool walk_jpeg(const std::string& file, const Visit& visit) {
  for (size_t at = 2; (at = file.find('\xFF', at)) != std::string::npos;) {
    at = file.find_first_not_of('\xFF', at);  // FF may be repeated
    if (at == std::string::npos) return false;
    const size_t kind = (unsigned char)file[at++];
    if (kind <= 0x01 || (kind >= 0xD0 && kind <= 0xD8)) continue;  // without a content
    if (kind == 0xD9) return true;
    const size_t length = number_at(file, at, 2, false);  // includes itself
    if (length < 2 || at + length > file.size()) return false;
    visit(kind, at + 2, length - 2);
    at += length;
  }
  return false;
}

inline bool is_jpeg(const std::string& file) { return file.compare(0, 2, "\xFF\xD8") == 0; }

// ---------------------------------------------------------------- the orientation

// Reads the orientation (1 to 8) from Exif data, which is a TIFF file; 1 if there is none.
inline int exif_orientation(const std::string& tiff) {
  const bool little = tiff.compare(0, 4, std::string("II*\0", 4)) == 0;
  if (!little && tiff.compare(0, 4, std::string("MM\0*", 4)) != 0) return 1;
  const auto read = [&](size_t at, size_t bytes) { return number_at(tiff, at, bytes, little); };
  const size_t directory = read(4, 4), entries = read(directory, 2);
  for (size_t i = 0; i < entries && directory + 14 + 12 * i <= tiff.size(); ++i) {
    const size_t entry = directory + 2 + 12 * i, value = read(entry + 8, 2);
    if (read(entry, 2) == 0x0112) return value >= 1 && value <= 8 ? int(value) : 1;
  }
  return 1;
}

// Returns the Exif data of a JPEG or PNG file, or an empty string.
inline std::string exif(const std::string& file) {
  std::string data;
  if (is_jpeg(file)) {
    walk_jpeg(file, [&](size_t kind, size_t place, size_t length) {
      const bool first = kind == 0xE1 && data.empty();
      if (first && file.compare(place, 6, std::string("Exif\0\0", 6)) == 0)
        data = file.substr(place + 6, length - 6);
    });
  } else if (file.compare(1, 3, "PNG") == 0) {  // chunks: length, kind, content, checksum
    for (size_t at = 8; at + 8 <= file.size(); at += 12 + number_at(file, at, 4, false))
      if (file.compare(at + 4, 4, "eXIf") == 0)
        return file.substr(at + 8, number_at(file, at, 4, false));
  }
  return data;
}

// Turns and mirrors a part as the camera's orientation demands.
inline Part oriented(const Part& part, int orientation) {
  if (orientation == 1) return part;
  const bool swapped = orientation >= 5;
  const bool down = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool left = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  Part turned{swapped ? part.width : part.height, swapped ? part.height : part.width, {}};
  turned.pixels.reserve(part.pixels.size());
  for (int64_t y = 0; y < turned.height; ++y)
    for (int64_t x = 0; x < turned.width; ++x) {
      const int64_t row = swapped ? x : y, column = swapped ? y : x;
      turned.pixels.push_back(
          part.at(down ? part.height - 1 - row : row, left ? part.width - 1 - column : column));
    }
  return turned;
}

// ---------------------------------------------------------------- reading

// Fails if a JPEG or BMP file has been cut off: stb_image fills the missing pixels with gray or
// black, and a defect in them would be overlooked. (It notices this in PNG files by itself.) It
// also misreads the palettes of OS/2 BMP files.
inline void check_whole(const std::string& file, const std::string& name, int width, int height) {
  bool whole = true;
  if (is_jpeg(file)) {
    whole = walk_jpeg(file, [](size_t, size_t, size_t) {});
  } else if (file.compare(0, 2, "BM") == 0) {
    const auto number = [&](size_t at, size_t bytes) { return number_at(file, at, bytes, true); };
    if (number(14, 4) == 12) fail(name, " is a BMP file of OS/2, which this program cannot read.");
    const size_t bits = size_t(width) * number(28, 2), rows = size_t(height);
    const size_t last = number(10, 4) + (rows - 1) * ((bits + 31) / 32 * 4) + (bits + 7) / 8;
    const bool plain = number(30, 4) == 0 || number(30, 4) == 3;  // neither is compressed
    whole = !plain || last <= file.size();
  }
  if (!whole) fail(name, " cannot be read: the image is truncated.");
}

// Reads a binary PGM file as Pillow does: values are scaled to the largest one that the header
// allows, which stb_image ignores. Returns false if the file is of another kind.
inline bool read_pgm(const std::string& file, const std::string& name, Part& part) {
  const bool color = file.compare(0, 2, "P6") == 0;
  if (file.compare(0, 2, "P5") && !color) return false;
  size_t at = 2;
  const auto byte = [&] { return at < file.size() ? (unsigned char)file[at] : 0u; };
  const auto number = [&] {
    while (std::isspace(int(byte())) || byte() == '#') {
      if (byte() == '#') at = std::min(file.find_first_of("\r\n", at), file.size());
      ++at;
    }
    int64_t value = 0;
    const size_t first = at;
    for (; std::isdigit(int(byte())) && value < 1000000; ++at) value = 10 * value + (byte() - '0');
    if (at == first) fail(name, " cannot be read: its header is damaged.");
    return value;
  };
  part.width = number(), part.height = number();
  const int64_t largest = number();
  if (largest < 1 || largest > 65535 || !std::isspace(int(byte())))
    fail(name, " cannot be read: its header is damaged.");
  if (color && largest == 255) return false;
  if (color) fail(name, " has the largest value ", largest, "; in color, this program reads 255.");
  const size_t bytes = largest > 255 ? 2 : 1, start = at + 1;
  if (start + size_t(part.width * part.height) * bytes > file.size())
    fail(name, " cannot be read: the image is truncated.");
  part.pixels.resize(size_t(part.width * part.height));
  const double scale = bytes == 2 ? 65535.0 : 255.0;
  for (size_t i = 0; i < part.pixels.size(); ++i) {
    const double value = double(number_at(file, start + bytes * i, bytes, false));
    const double scaled = std::nearbyint(value / double(largest) * scale);
    part.pixels[i] = float(std::min(scaled, scale)) / float(scale);
  }
  return true;
}

// Rejects files that stb_image reads as well but this program does not promise to read, and
// animations, of which only the first image would be judged.
inline void check_kind(const std::string& file, const std::string& name) {
  const bool png = file.size() > 8 && file.compare(1, 3, "PNG") == 0;
  const bool pnm = file.compare(0, 2, "P5") == 0 || file.compare(0, 2, "P6") == 0;
  if (!png && !pnm && !is_jpeg(file) && file.compare(0, 2, "BM"))
    fail(name,
         " is not an image that this program reads (PNG, JPEG, BMP, binary PGM), or it is empty.");
  for (size_t at = 8; png && at + 16 <= file.size(); at += 12 + number_at(file, at, 4, false)) {
    if (file.compare(at + 4, 4, "IDAT") == 0) break;
    if (file.compare(at + 4, 4, "acTL") == 0 && number_at(file, at + 8, 4, false) > 1)
      fail(name, " contains ", number_at(file, at + 8, 4, false),
           " images; a part needs a file of its own.");
  }
}

// Decodes an image file. Color becomes luma (ITU-R BT.601, with Pillow's integer weights), and
// the orientation stored by the camera is applied.
inline Part read_part(const std::string& file, const std::string& name) {
  const auto* data = reinterpret_cast<const unsigned char*>(file.data());
  int width = 0, height = 0, channels = 0;
  check_kind(file, name);
  const int size = int(file.size());
  if (!stbi_info_from_memory(data, size, &width, &height, &channels))
    fail(name,
         " is not an image that this program reads (PNG, JPEG, BMP, binary PGM), or it is empty.");
  height = int(std::llabs(int64_t(height)));  // negative in a BMP file that begins at the top
  if (double(width) * height > kMegapixels * 1e6)
    fail(name, " has ", width, " x ", height, " pixels, which is more than ", kMegapixels,
         " megapixels.");
  if (std::min(width, height) < kSmallest)
    fail(name, " has ", width, " x ", height, " pixels; each side needs at least ", kSmallest, ".");
  Part part;
  if (read_pgm(file, name, part)) {
    if (part.width != width || part.height != height)
      fail(name, " cannot be read: its header is damaged.");
    return part;
  }
  check_whole(file, name, width, height);
  const bool deep = stbi_is_16_bit_from_memory(data, size);
  void* decoded =
      deep ? static_cast<void*>(stbi_load_16_from_memory(data, size, &width, &height, &channels, 0))
           : stbi_load_from_memory(data, size, &width, &height, &channels, 0);
  if (!decoded) fail(name, " cannot be read: ", stbi_failure_reason(), ".");
  const std::unique_ptr<void, void (*)(void*)> owner(decoded, stbi_image_free);
  const auto* bytes = static_cast<const uint8_t*>(decoded);
  const auto* words = static_cast<const uint16_t*>(decoded);
  part = {height, width, std::vector<float>(size_t(width) * size_t(height))};
  for (size_t i = 0; i < part.pixels.size(); ++i) {
    const size_t at = i * size_t(channels);
    if (deep && channels < 3) {
      part.pixels[i] = float(words[at]) / 65535.0f;
      continue;
    }
    const auto value = [&](size_t c) { return deep ? words[at + c] >> 8 : int(bytes[at + c]); };
    const int gray = channels < 3
                         ? value(0)
                         : (19595 * value(0) + 38470 * value(1) + 7471 * value(2) + 0x8000) >> 16;
    part.pixels[i] = float(gray) / 255.0f;
  }
  return oriented(part, exif_orientation(exif(file)));
}

// Rejects an image that would be too large when it is extended to a tile.
inline void check_tiled_size(const Part& part, int64_t tile, const std::string& name) {
  if (double(std::max(part.height, tile)) * double(std::max(part.width, tile)) >
      kMegapixels * 1e6)
    fail(name, " has ", part.width, " x ", part.height, " pixels; extended to tiles of ", tile,
         ", they would be more than ", kMegapixels, " megapixels.");
}

// ---------------------------------------------------------------- statistics

struct Statistics {
  double brightness = 0, contrast = 0, sharpness = 0, size = 0;  // see `factory/drift.py`
};

inline Statistics statistics(const Part& part) {
  const double count = double(part.pixels.size());
  double sum = 0, squares = 0, down = 0, right = 0;
  for (float value : part.pixels) sum += value;
  const double mean = sum / count;
  for (int64_t y = 0; y < part.height; ++y)
    for (int64_t x = 0; x < part.width; ++x) {
      const double value = part.at(y, x);
      squares += (value - mean) * (value - mean);
      if (y) down += std::fabs(value - part.at(y - 1, x));
      if (x) right += std::fabs(value - part.at(y, x - 1));
    }
  down /= double((part.height - 1) * part.width);
  right /= double(part.height * (part.width - 1));
  return {mean, std::sqrt(squares / count), (down + right) / 2, count};
}

// Rejects an image that shows nothing: black, white or constant.
inline void check_exposure(const Part& part, double contrast, const std::string& name) {
  for (const auto& [value, word] : {std::pair{0.0f, "black"}, std::pair{1.0f, "saturated"}}) {
    const auto clipped =
        std::count_if(part.pixels.begin(), part.pixels.end(),
                      [v = value](float x) { return std::fabs(x - v) < 0.5f / 255; });
    const double share = double(clipped) / double(part.pixels.size());
    if (share >= kClipped)
      fail(name, " cannot be judged: ", std::lround(100 * share), "% of its pixels are ", word,
           ".");
  }
  if (contrast < kContrast) fail(name, " cannot be judged: all its pixels are nearly equal.");
}
