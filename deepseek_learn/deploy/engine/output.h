// How the programs print: JSON strings and numbers, and the time since an event.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdio>
#include <sstream>
#include <string>

// Returns the number of bytes of the UTF-8 character that starts at `i`, or 0 if there is none.
inline size_t utf8_length(const std::string& words, size_t i) {
  const auto byte = [&](size_t at) { return at < words.size() ? (unsigned char)words[at] : 0u; };
  const unsigned first = byte(i), second = byte(i + 1);
  const size_t length = first < 0x80 ? 1 : first >= 0xC2 && first < 0xE0 ? 2
                        : first >= 0xE0 && first < 0xF0 ? 3 : first >= 0xF0 && first < 0xF5 ? 4 : 0;
  for (size_t k = 1; k < length; ++k)
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  // overlong forms, UTF-16 surrogates, and numbers above U+10FFFF
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F))
    return 0;
  return length;
}

// Quotes a string byte for byte as Python's `json` does. A byte that is not UTF-8, which is
// possible in a file name, becomes the lone surrogate that Python reads it as.
inline std::string quoted(const std::string& words) {
  std::ostringstream out;
  out << '"';
  for (size_t i = 0; i < words.size();) {
    const auto c = static_cast<unsigned char>(words[i]);
    const size_t length = utf8_length(words, i);
    const size_t escape = std::string("\"\\\n\r\t\b\f").find(char(c));
    char code[8];
    if (c && escape != std::string::npos)
      out << '\\' << "\"\\nrtbf"[escape];
    else if (c < 0x20 || !length) {
      std::snprintf(code, sizeof code, "\\u%04x", c < 0x20 ? c : 0xDC00u + c);
      out << code;
    } else
      out << words.substr(i, length);
    i += length ? length : 1;
  }
  out << '"';
  return out.str();
}

inline std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.9g", value);
  return digits;
}

inline double milliseconds(std::chrono::steady_clock::time_point since) {
  const auto elapsed = std::chrono::steady_clock::now() - since;
  return std::chrono::duration<double, std::milli>(elapsed).count();
}
