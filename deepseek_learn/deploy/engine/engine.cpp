// Runs an exported model: the same source and binary work with every build of ONNX Runtime.
//
//   engine MODEL [--input FILE]... [--output FOLDER] [--selfcheck FOLDER] [options]
//
// The library is opened at run time (dlopen), so the same binary runs with the CPU,
// TensorRT, CANN and MIGraphX builds; the execution provider is an option. Compiled with
// ENGINE_OPENVINO it runs OpenVINO instead, linked as usual.
//
// Inputs are .npy files, or images (PNG, JPEG, BMP, PGM, PPM, ...) for models that take
// [N, C, H, W]. The output on stdout is one JSON object; an error gives one sentence on stderr
// and a nonzero exit status.

#include "session.h"

// ---------------------------------------------------------------- running

bool fits(const Shape& shape, const Shape& wanted) {
  if (shape.size() != wanted.size()) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (wanted[i] >= 0 && wanted[i] != shape[i]) return false;
  return true;
}

void check(const Tensor& tensor, const Port& port, const std::string& whose) {
  if (tensor.type != port.type || !fits(tensor.shape, port.shape))
    fail(whose, " is ", text(tensor.type, tensor.shape), "; the model's ", port.name, " takes ",
         text(port.type, port.shape), ".");
}

// Returns samples [first, last) along the batch axis; a scalar applies to every sample.
Tensor rows(const Tensor& all, int64_t first, int64_t last) {
  if (all.shape.empty()) return all;
  const size_t each = all.bytes.size() / size_t(all.shape[0]);
  Tensor part{all.type, all.shape, {}};
  part.shape[0] = last - first;
  part.bytes.assign(all.bytes.begin() + long(size_t(first) * each),
                    all.bytes.begin() + long(size_t(last) * each));
  return part;
}

void append(Tensor& all, const Tensor& more, const std::string& whose) {
  const bool alike = all.type == more.type && !all.shape.empty() &&
                     all.shape.size() == more.shape.size() &&
                     std::equal(all.shape.begin() + 1, all.shape.end(), more.shape.begin() + 1);
  if (!alike)
    fail(whose, " is ", text(more.type, more.shape), ", which does not join ",
         text(all.type, all.shape), " to a batch.");
  all.bytes.insert(all.bytes.end(), more.bytes.begin(), more.bytes.end());
  all.shape[0] += more.shape[0];
}

// One call of the model takes one tensor per port; further files extend the batch.
std::vector<Tensor> read_inputs(const std::vector<std::string>& files, const Session& session) {
  if (files.size() % session.inputs.size())
    fail("the model takes ", session.inputs.size(), " inputs; --input was given ", files.size(),
         " times.");
  std::vector<Tensor> found(session.inputs.size());
  for (size_t i = 0; i < files.size(); ++i) {
    const Port& port = session.inputs[i % session.inputs.size()];
    const bool npy = fs::path(files[i]).extension() == ".npy";
    const Tensor one =
        npy ? read_npy(files[i])
            : prepare(read_picture(files[i]), port.shape, session.preparation, files[i]);
    if (!one.shape.empty() && !one.shape[0])
      fail(files[i], " holds no sample: its shape is ", text(one.shape), ".");
    if (i < found.size())
      found[i] = one;
    else
      append(found[i % found.size()], one, files[i]);
  }
  for (size_t i = 0; i < found.size(); ++i) check(found[i], session.inputs[i], "--input");
  return found;
}

// Makes synthetic inputs for timing, for when no input is given.
std::vector<Tensor> made_up(const Session& session, int64_t batch) {
  std::vector<Tensor> found;
  for (const Port& port : session.inputs) {
    Shape shape = port.shape;
    if (!shape.empty() && shape[0] < 0) shape[0] = batch;
    if (std::any_of(shape.begin(), shape.end(), [](int64_t n) { return n < 0; }))
      fail("the model's ", port.name, " takes ", text(port.shape), ": give an --input.");
    Tensor tensor = make_tensor(port.type, shape, port.name);
    uint32_t state = 1;
    if (port.type == Type::f32)
      for (size_t i = 0; i < tensor.bytes.size() / 4; ++i)
        tensor.f32()[i] = float((state = state * 1664525u + 1013904223u) >> 8) / float(1 << 24);
    found.push_back(std::move(tensor));
  }
  return found;
}

// Reads the first --batch samples of the self-check's inputs, or all if there are fewer.
std::vector<Tensor> stored(const Session& session, const fs::path& folder, int64_t batch) {
  std::vector<Tensor> found;
  for (size_t i = 0; i < session.inputs.size(); ++i) {
    const Tensor all = read_npy(folder / ("input_" + std::to_string(i) + ".npy"));
    const Shape& wanted = session.inputs[i].shape;
    const int64_t fixed = wanted.empty() || wanted[0] < 0 ? batch : wanted[0];
    found.push_back(rows(all, 0, all.shape.empty() ? 1 : std::min(fixed, all.shape[0])));
  }
  return found;
}

struct Difference {
  double relative = 0;  // max |y - r| / max |r|
  int64_t samples = 0;
};

// Running maximum of |y - r| (infinite if only one is NaN) and of |r|, for one output.
struct Largest {
  double apart = 0, reference = 0;

  void add(const Tensor& answer, const Tensor& truth) {
    const int64_t n = count(truth.shape, "output");
    for (int64_t i = 0; i < n; ++i) {
      const double y = answer.at(i), r = truth.at(i);
      const bool same = y == r || (std::isnan(y) && std::isnan(r));
      const double d = same ? 0 : std::fabs(y - r);
      apart = std::max(apart, std::isnan(d) ? INFINITY : d);
      if (std::isfinite(r)) reference = std::max(reference, std::fabs(r));
    }
  }
};

// Replays FOLDER/input_I.npy and compares the outputs with FOLDER/output_I.npy, batch by batch.
Difference selfcheck(Session& session, const fs::path& folder) {
  std::vector<Tensor> given, wanted;
  for (size_t i = 0; i < session.inputs.size(); ++i)
    given.push_back(read_npy(folder / ("input_" + std::to_string(i) + ".npy")));
  for (size_t i = 0; i < session.outputs.size(); ++i)
    wanted.push_back(read_npy(folder / ("output_" + std::to_string(i) + ".npy")));
  Difference found;
  int64_t batch = 1;
  for (const auto* all : {&given, &wanted})
    for (size_t i = 0; i < all->size(); ++i) {
      const Shape& shape = (*all)[i].shape;
      if (shape.empty() && all == &given) continue;  // a scalar applies to every sample
      if (shape.empty() || !shape[0]) fail("a tensor in ", folder.string(), " holds no sample.");
      if (!found.samples) {
        const Shape& port = (all == &given ? session.inputs : session.outputs)[i].shape;
        found.samples = shape[0], batch = port.empty() ? 1 : std::max<int64_t>(port[0], 1);
      }
      if (shape[0] != found.samples)
        fail("the tensors in ", folder.string(), " differ in their number of samples.");
    }
  if (found.samples % batch)
    fail("the model takes ", batch, " samples at once; ", folder.string(), " holds ", found.samples,
         ".");
  std::vector<Largest> largest(wanted.size());
  for (int64_t first = 0; first < found.samples; first += batch) {
    std::vector<Tensor> part;
    for (size_t i = 0; i < given.size(); ++i) {
      part.push_back(rows(given[i], first, first + batch));
      check(part.back(), session.inputs[i], "input_" + std::to_string(i) + ".npy");
    }
    const auto answers = session.run(part);
    for (size_t i = 0; i < answers.size(); ++i) {
      const Tensor truth = rows(wanted[i], first, first + batch);
      if (answers[i].shape != truth.shape)
        fail("output_", i, ".npy is ", text(truth.shape), "; the model answers ",
             text(answers[i].shape), ".");
      largest[i].add(answers[i], truth);
    }
  }
  for (const Largest& each : largest)
    found.relative = std::max(found.relative, each.apart / std::max(each.reference, 1e-12));
  return found;
}

// ---------------------------------------------------------------- the output

std::string quoted(const std::string& words) {
  std::ostringstream out;
  out << '"';
  for (unsigned char c : words) {
    if (c == '"' || c == '\\')
      out << '\\' << c;
    else if (c < 0x20) {
      char code[8];
      std::snprintf(code, sizeof code, "\\u%04x", c);
      out << code;
    } else
      out << c;
  }
  out << '"';
  return out.str();
}

std::string number(double value) {
  if (!std::isfinite(value)) return "null";
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.9g", value);
  return digits;
}

double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::string latencies(std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  const auto at = [&](double part) { return ms[size_t(std::ceil(part * double(ms.size()))) - 1]; };
  std::ostringstream out;
  out << "{\"min\": " << number(ms.front());
  for (const auto& [name, part] :
       {std::pair{"median", 0.5}, std::pair{"p90", 0.9}, std::pair{"p99", 0.99}})
    out << ", \"" << name << "\": " << number(at(part));
  out << ", \"max\": " << number(ms.back()) << "}";
  return out.str();
}

constexpr int64_t kShown = 64;  // outputs with at most this many values are printed

std::string described(const Tensor& tensor, const Port& port) {
  std::ostringstream out;
  const int64_t n = count(tensor.shape, port.name);
  out << "{\"name\": " << quoted(port.name) << ", \"type\": \"" << facts(tensor.type).name
      << "\", \"shape\": " << text(tensor.shape);
  if (n <= kShown) {
    out << ", \"values\": [";
    for (int64_t i = 0; i < n; ++i) out << (i ? ", " : "") << number(tensor.at(i));
    out << "]";
  }
  out << "}";
  return out.str();
}

// ---------------------------------------------------------------- the command line

const char* const kHelp =
    "engine MODEL [options]: runs an ONNX model and prints JSON.\n"
    "  --input FILE       a .npy tensor or a picture; repeat it for more inputs, or a batch\n"
    "  --output FOLDER    writes output_0.npy, ... to it\n"
    "  --selfcheck FOLDER replays input_0.npy, ... and compares with output_0.npy, ...\n"
    "  --tolerance X      of the self-check: largest difference / largest value (1e-3)\n"
    "  --provider NAME    cpu, cuda, tensorrt, cann or migraphx (cpu)\n"
    "  --library FILE     of ONNX Runtime (else ORT_LIBRARY, else the system's)\n"
    "  --precision NAME   OpenVINO: fp32 or bf16, for layers not in int8; TensorRT: fp16 or\n"
    "                     int8, as in the model (fp32)\n"
    "  --checksum check|skip  compare MODEL with MODEL.sha256, if it exists (check)\n"
    "  --threads N        (1)      --device N   which accelerator (0)\n"
    "  --batch N          of synthetic inputs, or of those taken from the self-check (1)\n"
    "  --warmup N         runs before the timed ones (3)      --repeat N   timed runs (20)\n";

struct Command {
  Options options;
  std::vector<std::string> inputs;
  std::string output, check;
  double tolerance = 1e-3;
  bool checksum = true;
  int64_t batch = 1, warmup = 3, repeat = 20;
};

int64_t whole(const std::string& option, const std::string& value, int64_t least) {
  char* end = nullptr;
  const long long n = std::strtoll(value.c_str(), &end, 10);
  if (value.empty() || *end || n < least || n > 1000000)
    fail(option, " must be a whole number from ", least, "; got \"", value, "\".");
  return n;
}

double tolerance(const std::string& value) {
  const auto found = numbers(value, "--tolerance");
  if (found.size() != 1 || found[0] < 0)
    fail("--tolerance must be one number from 0; got \"", value, "\".");
  return found[0];
}

bool checked(const std::string& value) {
  if (value != "check" && value != "skip")
    fail("--checksum must be check or skip; got \"", value, "\".");
  return value == "check";
}

Command parse(const std::vector<std::string>& words) {
  Command command;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.compare(0, 2, "--")) {
      if (!command.options.model.empty())
        fail("one MODEL at a time; got ", command.options.model.string(), " and ", word, ".");
      command.options.model = word;
      continue;
    }
    if (i + 1 == words.size()) fail(word, " needs a value.");
    const std::string& value = words[++i];
    if (word == "--input")
      command.inputs.push_back(value);
    else if (word == "--output")
      command.output = value;
    else if (word == "--selfcheck")
      command.check = value;
    else if (word == "--tolerance")
      command.tolerance = tolerance(value);
    else if (word == "--checksum")
      command.checksum = checked(value);
    else if (word == "--provider")
      command.options.provider = value;
    else if (word == "--library")
      command.options.library = value;
    else if (word == "--precision")
      command.options.precision = value;
    else if (word == "--threads")
      command.options.threads = int(whole(word, value, 1));
    else if (word == "--device")
      command.options.device = int(whole(word, value, 0));
    else if (word == "--batch")
      command.batch = whole(word, value, 1);
    else if (word == "--warmup")
      command.warmup = whole(word, value, 0);
    else if (word == "--repeat")
      command.repeat = whole(word, value, 1);
    else
      fail(word, " is no option; see --help.");
  }
  const std::vector<std::string> known{"fp32", "bf16", "fp16", "int8"};
  if (std::find(known.begin(), known.end(), command.options.precision) == known.end())
    fail("--precision must be fp32, bf16, fp16 or int8; got ", command.options.precision, ".");
  if (command.options.model.empty()) fail("which MODEL? See --help.");
  std::error_code error;
  if (!fs::is_regular_file(command.options.model, error))
    fail(command.options.model.string(), " is not a file.");
  return command;
}

// Verifies MODEL against MODEL.sha256 ("HEX  NAME", the format of sha256sum).
std::string verified(const fs::path& model) {
  const fs::path file = model.string() + ".sha256";
  std::error_code error;
  if (!fs::exists(file, error)) return "none";
  const std::string wanted = read_file(file).substr(0, 64), found = sha256(model.string());
  if (wanted.size() < 64 || wanted.find_first_not_of("0123456789abcdef") != std::string::npos)
    fail(file.string(), " holds no SHA-256.");
  if (found != wanted)
    fail(model.string(), " is not the file that was deployed: its SHA-256 begins with ",
         found.substr(0, 8), ", ", file.filename().string(), " says ", wanted.substr(0, 8),
         ". Copy it again, or give --checksum skip.");
  return "verified";
}

int run(const Command& command) {
  const auto begun = Clock::now();
  const std::string checksum = command.checksum ? verified(command.options.model) : "skipped";
  Session session(command.options);
  if (session.inputs.empty() || session.outputs.empty())
    fail(command.options.model.string(), " has no ", session.inputs.empty() ? "input" : "output",
         ".");
  const double load_ms = milliseconds(begun);
  std::ostringstream out;
  out << "{\"model\": " << quoted(command.options.model.string())
      << ", \"runtime\": " << quoted(session.runtime)
      << ", \"provider\": " << quoted(command.options.provider)
      << ", \"threads\": " << command.options.threads << ", \"checksum\": \"" << checksum
      << "\", \"load_ms\": " << number(load_ms);
  bool same = true;
  if (!command.check.empty()) {
    const Difference found = selfcheck(session, command.check);
    same = found.relative <= command.tolerance;
    out << ", \"selfcheck\": {\"samples\": " << found.samples
        << ", \"relative_difference\": " << number(found.relative)
        << ", \"tolerance\": " << number(command.tolerance)
        << ", \"passed\": " << (same ? "true" : "false") << "}";
  }
  auto given = !command.inputs.empty() ? read_inputs(command.inputs, session)
               : command.check.empty() ? made_up(session, command.batch)
                                       : stored(session, command.check, command.batch);
  for (int64_t i = 0; i < command.warmup; ++i) session.run(given);
  std::vector<double> ms;
  std::vector<Tensor> answers;
  for (int64_t i = 0; i < command.repeat; ++i) {
    const auto start = Clock::now();
    answers = session.run(given);
    ms.push_back(milliseconds(start));
  }
  out << ", \"batch\": " << (given[0].shape.empty() ? 1 : given[0].shape[0])
      << ", \"latency_ms\": " << latencies(ms) << ", \"outputs\": [";
  for (size_t i = 0; i < answers.size(); ++i) {
    out << (i ? ", " : "") << described(answers[i], session.outputs[i]);
    if (command.output.empty()) continue;
    fs::create_directories(command.output);
    write_npy(fs::path(command.output) / ("output_" + std::to_string(i) + ".npy"), answers[i]);
  }
  std::printf("%s]}\n", out.str().c_str());
  if (!same)
    std::fprintf(stderr, "engine: the answers are not the stored ones: the self-check failed.\n");
  return same ? 0 : 1;
}

#ifndef ENGINE_NO_MAIN  // the fuzzer defines its own
int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (std::find(words.begin(), words.end(), "--help") != words.end())
    return std::fputs(kHelp, stdout) < 0;
  try {
    return run(parse(words));
  } catch (const std::exception& error) {  // from the engine, the runtime or the file system
    std::string sentence = error.what();
    std::replace(sentence.begin(), sentence.end(), '\n', ' ');
    std::fprintf(stderr, "engine: %s\n", sentence.c_str());
    return 2;
  }
}
#endif
