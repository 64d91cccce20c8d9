// Inspects the parts in a folder, once or as they arrive, with a detector that was deployed.
//
//   inspector LINE PARTS OUT [options]
//
// LINE is a folder that `factory.line.deploy` wrote. OUT receives one line of JSON per part in
// verdicts.jsonl and one overlay per part, as from `deepseek-learn solve factory`. A line is
// written by a single call and flushed to the disk, so the program may be killed at any time: no
// verdict is half-written, no part is lost, and none is judged twice.

#include <csignal>
#include <ctime>
#include <set>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include "stb_image_write.h"

#include "part.h"
#include "session.h"

// ---------------------------------------------------------------- the settings

struct Chart {  // an EWMA chart of one statistic; see `factory/drift.py`
  double mean = 0, deviation = 0, average = 0;
};

struct Settings {
  int64_t tile = 256, overlap = 32;
  double threshold = INFINITY, drift_weight = 0, drift_limit = 0;
  std::string version, model_sha256;
  std::map<std::string, Chart> charts;

  // What a verdict depends on besides its part, as JSON up to the date; see
  // `solutions/verdicts.py`.
  std::string provenance() const {
    char exact[32] = "null";  // 17 digits distinguish all doubles
    if (std::isfinite(threshold)) std::snprintf(exact, sizeof exact, "%.17g", threshold);
    return "\"provenance\": {\"schema\": 2, \"version\": " + quoted(version) + ", \"model\": " +
           quoted(model_sha256) + ", \"options\": {\"overlap\": " + std::to_string(overlap) +
           ", \"threshold\": " + exact + ", \"tile\": " + std::to_string(tile) +
           "}, \"date\": ";
  }
};

// Reads LINE/inspector.conf: one "key value ..." per line. To calibrate the threshold, the program
// is run without one, and all parts are good.
Settings read_settings(const fs::path& file, bool calibrate) {
  Settings settings;
  std::set<std::string> keys;
  std::istringstream lines(read_file(file));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, first, second, third, extra;
    words >> key >> first >> second >> third >> extra;
    if (key.empty()) continue;
    const std::string& unexpected = key == "chart"   ? extra
                                    : key == "drift" ? third
                                    : key == "end"   ? first
                                                     : second;
    if (!unexpected.empty() || keys.count("end"))
      fail(file.string(), " has too much in the line \"", line, "\".");
    const auto real = [&](const std::string& word) {
      char* end = nullptr;
      const double value = std::strtod(word.c_str(), &end);
      if (word.empty() || *end || !std::isfinite(value))
        fail(file.string(), " has no number in the line \"", line, "\".");
      return value;
    };
    if (!keys.insert(key == "chart" ? "chart " + first : key).second)
      fail(file.string(), " has two lines for ", key, ".");
    const auto pixels = [&] {
      const double value = real(first);
      if (value != std::floor(value)) fail(file.string(), " has no whole number of pixels.");
      return int64_t(std::clamp(value, -1.0, 65536.0));
    };
    if (key == "version")
      settings.version = first;
    else if (key == "model_sha256")
      settings.model_sha256 = first;
    else if (key == "tile")
      settings.tile = pixels();
    else if (key == "overlap")
      settings.overlap = pixels();
    else if (key == "threshold")
      settings.threshold = real(first);
    else if (key == "drift")
      settings.drift_weight = real(first), settings.drift_limit = real(second);
    else if (key == "chart")
      settings.charts[first] = {real(second), real(third), real(second)};
    else if (key != "end")
      fail(file.string(), " has the unknown key ", key, ".");
  }
  for (const char* key : {"version", "model_sha256", "tile", "overlap", "threshold", "drift",
                          "chart brightness", "chart contrast", "chart sharpness", "chart size",
                          "end"})
    if (!keys.count(key) && !(calibrate && std::string(key) == "threshold"))
      fail(file.string(), " lacks ", key, "; deploy the line again.");
  if (settings.charts.size() != 4) fail(file.string(), " has an unknown chart.");
  for (const auto& [name, chart] : settings.charts)
    if (chart.deviation < 0) fail(file.string(), " has a negative spread for ", name, ".");
  if (settings.drift_weight <= 0 || settings.drift_weight > 1 || settings.drift_limit <= 0)
    fail(file.string(), " has a drift weight that is not from 0 to 1, or a negative limit.");
  if (calibrate) settings.threshold = INFINITY;
  if (settings.tile < 1 || settings.tile > 16384 || settings.overlap < 0 ||
      settings.overlap >= settings.tile)
    fail(file.string(), " has a tile of ", settings.tile, " pixels with an overlap of ",
         settings.overlap, ".");
  return settings;
}

// ---------------------------------------------------------------- the anomaly map

// Where the tiles begin along one axis; see `factory/tiles.py`.
std::vector<int64_t> starts(int64_t length, int64_t tile, int64_t overlap) {
  if (length <= tile) return {0};
  const int64_t step = tile - overlap, count = 1 + (length - tile + step - 1) / step;
  std::vector<int64_t> found;
  for (int64_t i = 0; i < count; ++i)  // nearbyint rounds halves to even, as Python does
    found.push_back(int64_t(std::nearbyint(double(i * (length - tile)) / double(count - 1))));
  return found;
}

struct Map {
  int64_t height = 0, width = 0;
  std::vector<float> values;
};

class Detector {
 public:
  Detector(const Options& options, const Settings& settings)
      : session_(options), tile_(settings.tile), overlap_(settings.overlap) {
    const Shape wanted{1, 1, tile_, tile_};
    if (session_.inputs.size() != 1 || session_.inputs[0].shape.size() != 4)
      fail(options.model.string(), " must have one input of shape ", text(wanted), ".");
    input_ = make_tensor(Type::f32, wanted, "tile");
    for (int64_t i = 0; i < tile_; ++i) ramp_.push_back(float(std::min(i, tile_ - 1 - i) + 1));
  }

  // Runs the model on all tiles and blends the maps with weights that fall towards the border of
  // a tile.
  Map map(const Part& part) {
    const int64_t height = std::max(part.height, tile_), width = std::max(part.width, tile_);
    const auto rows = starts(height, tile_, overlap_), columns = starts(width, tile_, overlap_);
    std::vector<float> total(size_t(height * width));
    for (int64_t top : rows)
      for (int64_t left : columns) {
        const std::vector<Tensor> answers = run(part, top, left);
        const auto* anomaly = reinterpret_cast<const float*>(answers[0].bytes.data());
        for (int64_t y = 0; y < tile_; ++y) {
          float* to = &total[size_t((top + y) * width + left)];
          const float weight = ramp_[size_t(y)];
          for (int64_t x = 0; x < tile_; ++x)
            to[x] += weight * ramp_[size_t(x)] * anomaly[y * tile_ + x];
        }
      }
    // the sum of the weights is a product, because the tiles form a grid
    const auto down = weights(rows, height), across = weights(columns, width);
    Map blended{part.height, part.width, {}};
    blended.values.reserve(part.pixels.size());
    for (int64_t y = 0; y < part.height; ++y)
      for (int64_t x = 0; x < part.width; ++x)
        blended.values.push_back(total[size_t(y * width + x)] /
                                 (down[size_t(y)] * across[size_t(x)]));
    return blended;
  }

 private:
  Session session_;
  int64_t tile_, overlap_;
  Tensor input_;
  std::vector<float> ramp_;

  // A part smaller than a tile is extended by reflection.
  std::vector<Tensor> run(const Part& part, int64_t top, int64_t left) {
    const auto inside = [](int64_t i, int64_t length) {
      const int64_t at = i % (2 * length);
      return at < length ? at : 2 * length - 1 - at;
    };
    float* to = input_.f32();
    for (int64_t y = top; y < top + tile_; ++y)
      for (int64_t x = left; x < left + tile_; ++x)
        *to++ = part.at(inside(y, part.height), inside(x, part.width));
    std::vector<Tensor> inputs{std::move(input_)};
    auto answers = session_.run(inputs);
    input_ = std::move(inputs[0]);
    if (answers.empty() || answers[0].type != Type::f32 ||
        count(answers[0].shape, "the output") != tile_ * tile_)
      fail("the model must return float32 [1, ", tile_, ", ", tile_, "]; it returned ",
           answers.empty() ? "nothing" : text(answers[0].type, answers[0].shape), ".");
    return answers;
  }

  std::vector<float> weights(const std::vector<int64_t>& places, int64_t length) const {
    std::vector<float> sum(static_cast<size_t>(length));
    for (int64_t start : places)
      for (int64_t i = 0; i < tile_; ++i) sum[size_t(start + i)] += ramp_[size_t(i)];
    return sum;
  }
};

// ---------------------------------------------------------------- the output

std::string system_error() { return std::strerror(errno); }

// A file opened for appending whole lines, which only one process at a time may write.
class Verdicts {
 public:
  Verdicts(const fs::path& path, const std::string& provenance)
      : path_(path), provenance_(provenance) {
    file_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file_ < 0) fail(path.string(), " cannot be opened: ", system_error(), ".");
    if (flock(file_, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK)
      fail(path.string(),
           " is being written by another process: wait until it finishes, or choose "
           "another folder.");
    const std::string content = read_file(path);
    const size_t complete = content.rfind('\n') + 1;  // npos + 1 is 0
    if (complete < content.size() && ftruncate(file_, off_t(complete)))
      fail(path.string(), " cannot be repaired: ", system_error(), ".");
    std::istringstream all(content.substr(0, complete));
    std::set<std::string> names;
    std::string before, now = provenance_;
    size_t count = 0;
    for (std::string line; std::getline(all, line); before = now) {
      const size_t digest = line.find("\", \"sha256\": \"");
      if (line.compare(0, 10, "{\"name\": \"") || digest == std::string::npos ||
          line.size() < digest + kDigest + 64 + 14 ||
          line.compare(digest + kDigest + 64, 14, "\", \"verdict\": ") || line.back() != '}')
        fail(path.string(), ": line ", count + 1,
             " is not a verdict; move the file away, or "
             "choose another folder.");
      ++count;
      names.insert(line.substr(0, digest));
      now = provenance_in(line);
      if (now != before) lines.clear(), last_.clear();  // it sets aside all lines before it
      remember(line.substr(0, digest + kDigest + 64));
      lines.push_back(line);
    }
    if (now != provenance_) {
      set_aside = names.size();
      lines.clear(), last_.clear();
    }
  }
  ~Verdicts() { close(file_); }
  Verdicts(const Verdicts&) = delete;

  std::vector<std::string> lines;  // those of earlier runs that count
  size_t set_aside = 0;            // the parts whose verdicts had another provenance

  // Whether the last verdict on the item's name is on this content. `item` is the beginning of a
  // line, up to the checksum.
  bool contains(const std::string& item) const {
    const auto last = last_.find(item.substr(0, item.size() - 64));
    return last != last_.end() && item.compare(item.size() - 64, 64, last->second) == 0;
  }

  void add(const std::string& item, const std::string& rest) {
    const std::string line = item + "\", " + rest + ", " + provenance_ + today() + "}}\n";
    struct stat facts;
    if (!fstat(file_, &facts) && !facts.st_nlink)
      fail(path_.string(), " was deleted while it was being written.");
    const off_t end = lseek(file_, 0, SEEK_END);
    const ssize_t written = write(file_, line.data(), line.size());
    const std::string reason = written < 0 ? system_error() : "the disk is full";
    if (written != ssize_t(line.size()) || fsync(file_)) {
      if (ftruncate(file_, end)) fail(path_.string(), " is damaged: ", system_error(), ".");
      fail(path_.string(), " cannot be written: ", reason, ".");
    }
    remember(item);
  }

 private:
  static constexpr size_t kDigest = 14;  // the length of the words before the checksum
  fs::path path_;
  std::string provenance_;
  int file_;
  std::map<std::string, std::string> last_;  // the beginning of a line -> the checksum

  // The provenance that a line names, up to the date; "" if it names none. It is the last entry
  // of a line, whose earlier ones may contain anything.
  static std::string provenance_in(const std::string& line) {
    const size_t begin = line.rfind("\"provenance\": {"), end = line.rfind("\"date\": ");
    if (begin == std::string::npos || end == std::string::npos || end < begin) return "";
    return line.substr(begin, end + 8 - begin);
  }

  static std::string today() {
    char date[16];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof date, "\"%Y-%m-%d\"", std::localtime(&now));
    return date;
  }

  void remember(const std::string& item) {
    last_[item.substr(0, item.size() - 64)] = item.substr(item.size() - 64);
  }
};

// Writes a file atomically; `content` is flushed to the disk before the file gets its name.
void write_atomically(const fs::path& path, const std::string& content) {
  const fs::path temporary = path.string() + ".part";
  errno = 0;
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool written = file >= 0 &&
                       write(file, content.data(), content.size()) == ssize_t(content.size()) &&
                       !fsync(file);
  const std::string reason = errno ? system_error() : "the disk is full";
  if (file >= 0) close(file);
  std::error_code error;
  if (written) fs::rename(temporary, path, error);
  if (!written || error) {
    fs::remove(temporary, error);
    fail(path.string(), " cannot be written: ", reason, ".");
  }
}

constexpr int64_t kLargestJpeg = 65535;  // pixels along each side

// Returns a JPEG image of the part with everything above the threshold tinted red.
std::string overlay(const Part& part, const Map& anomaly, double threshold) {
  std::vector<unsigned char> color;
  color.reserve(3 * part.pixels.size());
  const float tints[] = {1.0f, 0.15f, 0.1f};
  for (size_t i = 0; i < part.pixels.size(); ++i) {
    const double above = std::clamp(anomaly.values[i] / std::max(threshold, 1e-12) - 1, 0.0, 1.0);
    const double alpha = above > 0 ? 0.35 + 0.3 * above : 0;
    for (float tint : tints)
      color.push_back((unsigned char)std::lround(
          255 * std::clamp(part.pixels[i] * (1 - alpha) + tint * alpha, 0.0, 1.0)));
  }
  std::string file;
  stbi_write_jpg_to_func(
      [](void* to, void* data, int size) {
        static_cast<std::string*>(to)->append(static_cast<const char*>(data), size_t(size));
      },
      &file, int(part.width), int(part.height), 3, color.data(), 90);
  return file;
}

// ---------------------------------------------------------------- drift

// Returns a number of a verdict by its name; NaN if there is none.
double number_in(const std::string& line, const std::string& name) {
  const std::string key = "\"" + name + "\": ";
  const size_t at = line.rfind(key);  // the part's name comes first and may contain anything
  return at == std::string::npos ? NAN : std::strtod(line.c_str() + at + key.size(), nullptr);
}

class Drift {
 public:
  explicit Drift(const Settings& settings)
      : charts_(settings.charts), weight_(settings.drift_weight), limit_(settings.drift_limit) {}

  // Returns the names of the statistics that have drifted, as a JSON list.
  std::string update(const Statistics& now) {
    std::string names;
    for (const auto& [name, value] :
         {std::pair{"brightness", now.brightness}, std::pair{"contrast", now.contrast},
          std::pair{"sharpness", now.sharpness}, std::pair{"size", now.size}}) {
      const auto found = charts_.find(name);
      if (found == charts_.end()) continue;
      Chart& chart = found->second;
      chart.average += weight_ * (value - chart.average);
      if (std::fabs(chart.average - chart.mean) > limit_ * chart.deviation)
        names += (names.empty() ? "" : ", ") + quoted(name);
    }
    return "[" + names + "]";
  }

  // Follows a part that an earlier run judged, and returns whether the parts have drifted.
  bool replay(const std::string& line) {
    const Statistics then{number_in(line, "brightness"), number_in(line, "contrast"),
                          number_in(line, "sharpness"), number_in(line, "size")};
    const double sum = then.brightness + then.contrast + then.sharpness + then.size;
    return std::isfinite(sum) && update(then) != "[]";
  }

 private:
  std::map<std::string, Chart> charts_;
  double weight_, limit_;
};

// ---------------------------------------------------------------- the parts

std::string lowercase(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return word;
}

// Appends the image files in a folder and its subfolders, except for hidden files, links to
// folders, the folders `skipped`, and folders with the results of an inspection. A folder that
// cannot be read is an error, unless it has just been removed.
void list_parts(const fs::path& folder, const std::vector<fs::path>& skipped,
                std::vector<fs::path>& files) {
  static const std::set<std::string> suffixes{".png", ".jpg",  ".jpeg", ".bmp",
                                              ".tif", ".tiff", ".webp", ".pgm"};
  std::error_code error;
  fs::directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    const fs::path& path = at->path();
    std::error_code unknown;
    if (path.filename().string()[0] == '.') continue;
    if (at->is_directory(unknown)) {
      const bool skip = std::any_of(skipped.begin(), skipped.end(), [&](const fs::path& each) {
        return fs::equivalent(path, each, unknown);
      });
      const bool results = fs::exists(path / "verdicts.jsonl", unknown);
      if (!skip && !results && !at->is_symlink(unknown)) list_parts(path, skipped, files);
    } else if (suffixes.count(lowercase(path.extension().string())) &&
               at->is_regular_file(unknown))
      files.push_back(path);
  }
  if (error && error != std::errc::no_such_file_or_directory)
    fail(folder.string(), " cannot be read: ", error.message(), ".");
}

// Lists the parts by name.
std::vector<fs::path> part_files(const fs::path& folder, const std::vector<fs::path>& skipped) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) fail(folder.string(), " is not a folder.");
  std::vector<fs::path> files;
  list_parts(folder, skipped, files);
  std::sort(files.begin(), files.end());
  return files;
}

// ---------------------------------------------------------------- the inspection

struct Command {
  fs::path line, parts, out;
  std::vector<fs::path> skipped;
  Options options;
  bool watch = false, overlays = true, calibrate = false;
};

volatile std::sig_atomic_t stopped = 0;

struct State {  // the size and the time of change of a file, and since when it has them
  std::string text;
  Clock::time_point since;
};

class Inspection {
 public:
  explicit Inspection(const Command& command)
      : command_(command),
        settings_(checked(command)),
        detector_(command.options, settings_),
        drift_(settings_),
        verdicts_(command.out / "verdicts.jsonl", settings_.provenance()) {
    if (command.calibrate && (!verdicts_.lines.empty() || verdicts_.set_aside))
      fail(command.out.string(), " has verdicts already; --calibrate needs a new folder.");
    if (verdicts_.set_aside)
      std::fprintf(stderr,
                   "inspector: %zu earlier verdicts are of another line, model or version: they "
                   "are set aside, and all parts are judged again.\n",
                   verdicts_.set_aside);
    for (const std::string& line : verdicts_.lines)
      if (std::isfinite(number_in(line, "score"))) drifted = drift_.replay(line);
  }

  size_t set_aside() const { return verdicts_.set_aside; }

  int judged = 0, defective = 0, refused = 0;
  bool drifted = false;

  // Judges all new parts. With `--watch`, a file is new once its size and its time of change have
  // stayed the same between two scans, so that a file that is being written is left alone; one
  // that cannot be read is given two seconds.
  void scan() {
    std::map<fs::path, State> seen;
    std::error_code gone;
    if (command_.watch && !fs::is_directory(command_.parts, gone)) return;  // it may come back
    for (const fs::path& path : part_files(command_.parts, command_.skipped)) {
      if (stopped) return;
      std::error_code error;
      const auto size = fs::file_size(path, error);
      const auto time = fs::last_write_time(path, error).time_since_epoch().count();
      if (error == std::errc::no_such_file_or_directory) continue;  // it has just been removed
      const std::string state = std::to_string(size) + " " + std::to_string(time);
      const auto last = seen_.find(path);
      const bool same = last != seen_.end() && last->second.text == state;
      const Clock::time_point since = same ? last->second.since : Clock::now();
      seen[path] = {state, since};
      if (done_.count(path) && done_.at(path) == state) continue;
      if (command_.watch && !same) continue;
      const bool final = !command_.watch || Clock::now() - since > std::chrono::seconds(2);
      if (judge(path, final)) done_[path] = state;
    }
    seen_ = std::move(seen);
  }

 private:
  Command command_;
  Settings settings_;
  Detector detector_;
  Drift drift_;
  Verdicts verdicts_;
  std::map<fs::path, std::string> done_;
  std::map<fs::path, State> seen_;

  // Reads the settings, compares the model's checksum with theirs, and verifies their own.
  static Settings checked(const Command& command) {
    const Settings settings = read_settings(command.line / "inspector.conf", command.calibrate);
    if (!fs::exists(command.options.model))
      fail(command.options.model.string(), " is missing; deploy the line again.");
    if (sha256(command.options.model.string()) != settings.model_sha256)
      fail(command.options.model.string(),
           " is not the model that inspector.conf was made for; "
           "deploy the line again.");
    Checksums(command.options.model, "deploy the line again.").verify("inspector.conf");
    return settings;
  }

  // Judges a part that has no verdict yet, and returns whether that is done for as long as the
  // file stays as it is. An image that cannot be read may still be written, so it gets no verdict
  // until its state is `final`; a file that cannot be opened may be allowed later.
  bool judge(const fs::path& path, bool final) {
    const auto begun = Clock::now();
    const std::string name = quoted(path.filename().string());
    std::string content, problem, digest(64, '0');
    errno = 0;
    std::error_code unknown;
    const auto bytes = fs::file_size(path, unknown);
    try {
      if (!unknown && bytes > kLargestFile) {
        problem = name + " has more than " + std::to_string(kLargestFile >> 30) + " GiB.";
        throw Error(problem);
      }
      content = read_file(path);
      Sha256 hash;
      hash.add(reinterpret_cast<const unsigned char*>(content.data()), content.size());
      digest = hash.digest();
    } catch (const Error&) {
      const std::string reason = errno ? system_error() : "unknown error";
      std::error_code error;
      if (fs::status(path, error).type() == fs::file_type::not_found) return true;  // removed
      if (problem.empty()) problem = name + " cannot be read: " + reason + ".";
    }
    std::string item = "{\"name\": " + quoted(path.lexically_relative(command_.parts).string()) +
                       ", \"sha256\": \"" + digest;
    if (verdicts_.contains(item)) return problem.empty();
    std::ostringstream rest;
    Part part;
    Statistics now;
    bool readable = true;
    try {
      if (!problem.empty()) fail(problem);
      part = read_part(content, name);
      now = statistics(part);
      check_exposure(part, now.contrast, name);
      check_tiled_size(part, settings_.tile, name);
    } catch (const Error& error) {
      if (!final) return false;
      rest << "\"verdict\": \"refused\", \"reason\": " << quoted(error.what());
      readable = false;
    }
    ++judged;
    if (readable) {
      const Map anomaly = detector_.map(part);
      const bool finite = std::all_of(anomaly.values.begin(), anomaly.values.end(),
                                      [](float value) { return std::isfinite(value); });
      if (!finite) fail("the model returned NaN or infinity for ", name, ".");
      const double score = *std::max_element(anomaly.values.begin(), anomaly.values.end());
      // the threshold was a score once, and a score has the precision of a float
      const bool bad = score > double(float(settings_.threshold));
      const std::string drifts = drift_.update(now);
      rest << "\"verdict\": \"" << (bad ? "defective" : "good")
           << "\", \"score\": " << number(score)
           << ", \"threshold\": " << number(settings_.threshold) << ", \"height\": " << part.height
           << ", \"width\": " << part.width << ", \"brightness\": " << number(now.brightness)
           << ", \"contrast\": " << number(now.contrast)
           << ", \"sharpness\": " << number(now.sharpness) << ", \"size\": " << number(now.size)
           << ", \"drift\": " << drifts << ", \"ms\": " << number(milliseconds(begun));
      defective += bad;
      if (!drifted && drifts != "[]")
        std::fprintf(stderr, "inspector: the parts have drifted since %s: %s.\n", name.c_str(),
                     drifts.c_str());
      drifted = drifts != "[]";
      if (command_.overlays && std::max(part.height, part.width) <= kLargestJpeg) {
        const std::string file = "overlays/" + digest.substr(0, 16) + ".jpg";
        fs::create_directories(command_.out / "overlays", unknown);
        write_atomically(command_.out / file, overlay(part, anomaly, settings_.threshold));
        rest << ", \"overlay\": \"" << file << "\"";
      }
    } else
      ++refused;
    verdicts_.add(item, rest.str());
    return problem.empty();
  }
};

// ---------------------------------------------------------------- the command line

const char* const kHelp =
    "Usage: inspector LINE PARTS OUT [options]\n"
    "Judge the parts (PNG, JPEG, BMP or PGM) in the folder PARTS with the detector in the folder\n"
    "LINE. Write verdicts.jsonl and overlays/ to the folder OUT. Parts with a verdict are "
    "skipped.\n"
    "  --watch           keep judging new parts until the program is stopped (Ctrl-C, SIGTERM)\n"
    "  --skip FOLDER     a folder in PARTS whose images are not judged\n"
    "  --no-overlays     write no overlays\n"
    "  --calibrate       use no threshold: all parts are good (for factory.line.deploy)\n"
    "  --library FILE    ONNX Runtime library ($ORT_LIBRARY, or LINE/lib, or the system's "
    "library)\n"
    "  --threads N       number of CPU threads (1)\n";

// The library in LINE/lib, if there is one.
std::string bundled(const fs::path& line) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(line / "lib", error))
    if (entry.path().filename().string().compare(0, 14, "libonnxruntime") == 0)
      return entry.path().string();
  return "";
}

const fs::path& folder(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) fail(path.string(), " is not a folder.");
  return path;
}

Command parse(const std::vector<std::string>& words) {
  Command command;
  std::vector<std::string> folders;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    const auto value = [&] {
      if (i + 1 == words.size()) fail(word, " requires a value.");
      return words[++i];
    };
    if (word == "--watch")
      command.watch = true;
    else if (word == "--no-overlays")
      command.overlays = false;
    else if (word == "--calibrate")
      command.calibrate = true;
    else if (word == "--skip")
      command.skipped.push_back(folder(value()));
    else if (word == "--library")
      command.options.library = value();
    else if (word == "--threads") {
      const std::string threads = value();
      const bool digits = threads.find_first_not_of("0123456789") == std::string::npos;
      command.options.threads = digits && threads.size() < 5 ? std::atoi(threads.c_str()) : 0;
      if (command.options.threads < 1 || command.options.threads > 1024)
        fail("--threads must be from 1 to 1024; got \"", threads, "\".");
    } else if (!word.compare(0, 2, "--"))
      fail(word, " is not an option; see --help.");
    else
      folders.push_back(word);
  }
  if (folders.size() != 3)
    fail("LINE, PARTS and OUT are required; got ", folders.size(), " folders; see --help.");
  command.line = folders[0], command.parts = folders[1], command.out = folders[2];
  command.options.model = command.line / "model.onnx";
  const char* library = std::getenv("ORT_LIBRARY");
  if (command.options.library.empty() && (!library || !*library))
    command.options.library = bundled(command.line);
  std::error_code error;
  folder(command.parts);
  if (command.out.empty()) fail("OUT must be a folder; got an empty name.");
  const fs::path out = fs::weakly_canonical(command.out), parts = fs::canonical(command.parts);
  if (std::mismatch(out.begin(), out.end(), parts.begin(), parts.end()).first == out.end())
    fail("OUT must not contain the parts; got ", command.out.string(), ".");
  fs::create_directories(command.out / "overlays", error);
  if (error) fail(command.out.string(), " cannot be created: ", error.message(), ".");
  command.skipped.push_back(command.out);
  return command;
}

int run(const Command& command) {
  for (int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stopped = 1; });
  Inspection inspection(command);
  inspection.scan();
  while (command.watch && !stopped) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    inspection.scan();
  }
  std::printf(
      "{\"judged\": %d, \"defective\": %d, \"refused\": %d, \"drifted\": %s, "
      "\"set_aside\": %zu}\n",
      inspection.judged, inspection.defective, inspection.refused,
      inspection.drifted ? "true" : "false", inspection.set_aside());
  if (std::fflush(stdout)) fail("the counts cannot be printed: ", system_error(), ".");
  return 0;
}

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (std::find(words.begin(), words.end(), "--help") != words.end())
    return std::fputs(kHelp, stdout) < 0;
  try {
    return run(parse(words));
  } catch (const std::exception& error) {
    std::string sentence = error.what();
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::fprintf(stderr, "inspector: %s\n", sentence.c_str());
    return 2;
  }
}
