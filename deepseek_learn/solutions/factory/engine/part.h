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
constexpr int kSmallest = 32;        // pixels along each side
constexpr double kClipped = 0.5;     // reject if this fraction of the pixels is black or white
constexpr double kContrast = 0.004;  // the smallest standard deviation

// ---------------------------------------------------------------- the orientation

// Reads the orientation (1 to 8) from Exif data, which is a TIFF file; 1 if there is none.
inline int exif_orientation(const std::string& tiff) {
  const bool little = tiff.compare(0, 4, std::string("II*\0", 4)) == 0;
  if (!little && tiff.compare(0, 4, std::string("MM\0*", 4)) != 0) return 1;
  const auto read = [&](size_t at, size_t bytes) {
    size_t value = 0;
    for (size_t i = 0; i < bytes; ++i) {
      const size_t place = little ? at + bytes - 1 - i : at + i;
      value = value << 8 | (place < tiff.size() ? (unsigned char)tiff[place] : 0u);
    }
    return value;
  };
  const size_t directory = read(4, 4), entries = read(directory, 2);
  for (size_t i = 0; i < entries && directory + 14 + 12 * i <= tiff.size(); ++i) {
    const size_t entry = directory + 2 + 12 * i, value = read(entry + 8, 2);
    if (read(entry, 2) == 0x0112) return value >= 1 && value <= 8 ? int(value) : 1;
  }
  return 1;
}

// Returns the Exif data of a JPEG or PNG file, or an empty string.
inline std::string exif(const std::string& file) {
  const auto number = [&](size_t at, size_t bytes) {  // big-endian
    size_t value = 0;
    for (size_t i = at; i < at + bytes; ++i)
      value = value << 8 | (i < file.size() ? (unsigned char)file[i] : 0u);
    return value;
  };
  if (number(0, 2) == 0xFFD8) {  // JPEG: segments FF, kind, length (which includes itself)
    for (size_t at = 2; at + 4 <= file.size() && number(at, 1) == 0xFF;) {
      const size_t kind = number(at + 1, 1), length = number(at + 2, 2);
      if (kind == 0xDA || length < 2) break;  // the pixels begin
      if (kind == 0xE1 && file.compare(at + 4, 6, std::string("Exif\0\0", 6)) == 0)
        return file.substr(at + 10, length - 8);
      at += 2 + length;
    }
  } else if (file.compare(1, 3, "PNG") == 0) {  // PNG: chunks length, kind, data, checksum
    for (size_t at = 8; at + 8 <= file.size(); at += 12 + number(at, 4))
      if (file.compare(at + 4, 4, "eXIf") == 0) return file.substr(at + 8, number(at, 4));
  }
  return "";
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

// Finds the place behind the segments of a JPEG file where the pixels begin; 0 if there is none.
inline size_t jpeg_scan(const std::string& file) {
  const auto byte = [&](size_t at) { return size_t((unsigned char)file[at]); };
  for (size_t at = 2; at + 4 <= file.size() && byte(at) == 0xFF;) {
    if (byte(at + 1) == 0xDA) return at;
    at += 2 + (byte(at + 2) << 8 | byte(at + 3));
  }
  return 0;
}

// Fails if a JPEG or BMP file has been cut off: stb_image fills the missing pixels with gray or
// black, and a defect in them would be overlooked. (It notices this in PNG files by itself.)
inline void check_whole(const std::string& file, const std::string& name) {
  bool whole = true;
  if (file.compare(0, 2, "\xFF\xD8") == 0) {
    const size_t end = file.rfind("\xFF\xD9");  // FF D9 cannot occur within the pixels
    whole = end != std::string::npos && end > jpeg_scan(file);
  } else if (file.compare(0, 2, "BM") == 0 && file.size() >= 54) {
    const auto number = [&](size_t at, size_t bytes) {  // little-endian
      size_t value = 0;
      for (size_t i = 0; i < bytes; ++i) value |= size_t((unsigned char)file[at + i]) << (8 * i);
      return value;
    };
    const bool old = number(14, 4) == 12;  // the header of OS/2
    const size_t width = number(18, old ? 2 : 4), bits = number(old ? 24 : 28, 2);
    const int64_t signed_height = old ? int64_t(number(20, 2)) : int64_t(int32_t(number(22, 4)));
    const size_t row = (width * bits + 31) / 32 * 4;
    whole = number(10, 4) + row * size_t(std::llabs(signed_height)) <= file.size();
  }
  if (!whole) fail(name, " cannot be read: the image is truncated.");
}

// Reads a binary PGM file as Pillow does: values are scaled to the largest one that the header
// allows. stb_image ignores it. Returns false if the file is of another kind.
inline bool read_pgm(const std::string& file, const std::string& name, Part& part) {
  if (file.compare(0, 2, "P5")) return false;
  size_t at = 2;
  const auto number = [&] {
    while (at < file.size() && (std::isspace((unsigned char)file[at]) || file[at] == '#')) {
      if (file[at] == '#') at = std::min(file.find('\n', at), file.size() - 1);
      ++at;
    }
    int64_t value = 0;
    const size_t first = at;
    for (; at < file.size() && std::isdigit((unsigned char)file[at]) && value < 1000000; ++at)
      value = 10 * value + (file[at] - '0');
    if (at == first) fail(name, " cannot be read: its header is damaged.");
    return value;
  };
  part.width = number(), part.height = number();
  const int64_t largest = number();
  const size_t bytes = largest > 255 ? 2 : 1, start = ++at;
  if (largest < 1 || largest > 65535) fail(name, " cannot be read: its header is damaged.");
  if (start + size_t(part.width * part.height) * bytes > file.size())
    fail(name, " cannot be read: the image is truncated.");
  part.pixels.resize(size_t(part.width * part.height));
  const double scale = bytes == 2 ? 65535.0 : 255.0;
  for (size_t i = 0; i < part.pixels.size(); ++i) {
    const size_t place = start + bytes * i;
    const double value = bytes == 2 ? double((unsigned char)file[place] << 8 |
                                             (unsigned char)file[place + 1])
                                    : double((unsigned char)file[place]);
    const double scaled = std::nearbyint(value / double(largest) * scale);
    part.pixels[i] = float(std::min(scaled, scale)) / float(scale);
  }
  return true;
}

// Decodes an image file. Color becomes luma (ITU-R BT.601, with Pillow's integer weights), and
// the orientation stored by the camera is applied.
inline Part read_part(const std::string& file, const std::string& name) {
  const auto* data = reinterpret_cast<const unsigned char*>(file.data());
  int width = 0, height = 0, channels = 0;
  if (file.size() > size_t(INT32_MAX)) fail(name, " has more than 2 GiB.");
  const int size = int(file.size());
  if (!stbi_info_from_memory(data, size, &width, &height, &channels))
    fail(name, " is not an image that this program reads (PNG, JPEG, BMP, PGM), or it is empty.");
  if (double(width) * height > kMegapixels * 1e6)
    fail(name, " has ", std::round(double(width) * height / 1e5) / 10,
         " megapixels; the limit is ", kMegapixels, ".");
  if (std::min(width, height) < kSmallest)
    fail(name, " has ", width, " x ", height, " pixels; each side needs at least ", kSmallest, ".");
  Part part;
  if (read_pgm(file, name, part)) {
    if (part.width != width || part.height != height)
      fail(name, " cannot be read: its header is damaged.");
    return part;
  }
  check_whole(file, name);
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
