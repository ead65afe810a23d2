// The methods of an ExecuTorch program, from Java, on ExecuTorch's C++ interface.
//
// No C++ exceptions and no fbjni: ExecuTorch returns errors, which become Java's exceptions here. What a caller can
// get wrong is found before ExecuTorch sees it, because there it would end the process or read foreign memory:
//   IllegalArgumentException  the call is wrong: buffers, shapes, types, a closed program
//   IllegalStateException     ExecuTorch refused or failed; its word for the error is in the message
//   OutOfMemoryError          no memory is left
//
// `org.hydramobile.runtime.et.Native` declares these functions and says what they do.

#include <jni.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/threadpool/cpuinfo_utils.h>
#include <executorch/extension/threadpool/threadpool.h>
#include <executorch/runtime/core/exec_aten/exec_aten.h>

using executorch::aten::ScalarType;
using executorch::aten::SizesType;
using executorch::aten::Tensor;
using executorch::aten::TensorImpl;
using executorch::extension::Module;
using executorch::extension::threadpool::get_threadpool;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::MethodMeta;

// Names that a compiler's own runtime would define; ours is linked against ExecuTorch's library alone.
namespace std {
inline namespace __ndk1 {
__attribute__((noreturn)) void __libcpp_verbose_abort(char const*, ...) { __builtin_trap(); }
}  // namespace __ndk1
}  // namespace std
extern "C" __attribute__((visibility("hidden"))) void* __dso_handle = nullptr;

namespace {

constexpr const char* kArgument = "java/lang/IllegalArgumentException";
constexpr const char* kState = "java/lang/IllegalStateException";
constexpr const char* kMemory = "java/lang/OutOfMemoryError";

// Raises an exception of a class; Java sees it when the native function returns.
void raise(JNIEnv* env, const char* kind, const std::string& text) {
  if (env->ExceptionCheck()) return;
  jclass found = env->FindClass(kind);
  if (found != nullptr) env->ThrowNew(found, text.c_str());
}

void raise(JNIEnv* env, Error error, const std::string& what) {
  const bool memory = error == Error::MemoryAllocationFailed || error == Error::DelegateMemoryAllocationFailed;
  raise(env, memory ? kMemory : kState, what + ": ExecuTorch says " + executorch::runtime::to_string(error));
}

std::string number(int64_t value) { return std::to_string(static_cast<long long>(value)); }

std::string shown(const std::vector<SizesType>& sizes) {
  std::string text = "[";
  for (std::size_t i = 0; i < sizes.size(); ++i) text += (i == 0 ? "" : ", ") + number(sizes[i]);
  return text + "]";
}

// A Java string; false: an exception is pending.
bool text_of(JNIEnv* env, jstring given, const char* what, std::string& out) {
  if (given == nullptr) {
    raise(env, kArgument, std::string(what) + " is null");
    return false;
  }
  const char* chars = env->GetStringUTFChars(given, nullptr);
  if (chars == nullptr) return false;
  out = chars;
  env->ReleaseStringUTFChars(given, chars);
  return true;
}

Module* module_of(JNIEnv* env, jlong handle) {
  if (handle == 0) raise(env, kArgument, "the program is closed");
  return reinterpret_cast<Module*>(handle);
}

// What a call hands to a method: memory of the caller's, seen as tensors.
class Inputs {
 public:
  Inputs(JNIEnv* env, const std::string& method, const MethodMeta& meta) : env_(env), method_(method), meta_(meta) {}

  // False: an exception is pending.
  bool take(jobjectArray buffers, jobjectArray shapes) {
    if (buffers == nullptr || shapes == nullptr) return refuse("buffers or shapes are null");
    const jsize count = env_->GetArrayLength(buffers);
    if (count != env_->GetArrayLength(shapes) || static_cast<std::size_t>(count) != meta_.num_inputs()) {
      return refuse(number(count) + " buffers and " + number(env_->GetArrayLength(shapes)) + " shapes, expected " +
                    number(static_cast<int64_t>(meta_.num_inputs())) + " of each");
    }
    sizes_.resize(count);
    for (jsize i = 0; i < count; ++i) {
      jobject buffer = env_->GetObjectArrayElement(buffers, i);
      auto shape = static_cast<jlongArray>(env_->GetObjectArrayElement(shapes, i));
      const bool taken = add(i, buffer, shape);
      env_->DeleteLocalRef(shape);
      env_->DeleteLocalRef(buffer);
      if (!taken) return false;
    }
    return true;
  }

  const std::vector<EValue>& values() const { return values_; }

 private:
  bool add(jsize index, jobject buffer, jlongArray shape) {
    const std::string which = "input " + number(index);
    if (buffer == nullptr || shape == nullptr) return refuse(which + " is null");
    const auto expected = meta_.input_tensor_meta(index);
    if (!expected.ok()) return refuse(which + " is no tensor");
    std::vector<SizesType>& sizes = sizes_[index];
    int64_t elements = 0;
    if (!read_shape(which, shape, expected->sizes(), sizes, elements)) return false;
    const bool is_long = env_->IsInstanceOf(buffer, env_->FindClass("java/nio/LongBuffer"));
    if (!is_long && !env_->IsInstanceOf(buffer, env_->FindClass("java/nio/FloatBuffer"))) {
      return refuse(which + " is neither a FloatBuffer nor a LongBuffer");
    }
    const ScalarType type = is_long ? ScalarType::Long : ScalarType::Float;
    if (expected->scalar_type() != type) {
      return refuse(which + " holds " + (is_long ? "int64" : "float32") + ", the program has another type there");
    }
    void* data = env_->GetDirectBufferAddress(buffer);
    if (data == nullptr) return refuse(which + " is no direct buffer");
    const jlong capacity = env_->GetDirectBufferCapacity(buffer);
    if (capacity < elements) {
      return refuse(which + " has room for " + number(capacity) + " values, its shape " + shown(sizes) + " needs " +
                    number(elements));
    }
    tensors_.push_back(std::make_unique<TensorImpl>(type, static_cast<ssize_t>(sizes.size()), sizes.data(), data));
    values_.emplace_back(Tensor(tensors_.back().get()));
    return true;
  }

  // `limits`: the program's shape; of a dynamic dimension, its largest size.
  bool read_shape(const std::string& which, jlongArray shape, executorch::runtime::Span<const int32_t> limits,
                  std::vector<SizesType>& sizes, int64_t& elements) {
    const jsize rank = env_->GetArrayLength(shape);
    if (static_cast<std::size_t>(rank) != limits.size()) {
      return refuse(which + " has " + number(rank) + " dimensions, expected " +
                    number(static_cast<int64_t>(limits.size())));
    }
    std::vector<jlong> dimensions(rank);
    env_->GetLongArrayRegion(shape, 0, rank, dimensions.data());
    elements = 1;
    for (jsize i = 0; i < rank; ++i) {
      if (dimensions[i] < 1 || dimensions[i] > limits[i]) {
        return refuse(which + " has size " + number(dimensions[i]) + " in dimension " + number(i) + ", expected 1 to " +
                      number(limits[i]));
      }
      sizes.push_back(static_cast<SizesType>(dimensions[i]));
      elements *= dimensions[i];
    }
    return true;
  }

  bool refuse(const std::string& what) {
    raise(env_, kArgument, "`" + method_ + "`: " + what);
    return false;
  }

  JNIEnv* env_;
  const std::string& method_;
  const MethodMeta& meta_;
  std::vector<std::vector<SizesType>> sizes_;
  std::vector<std::unique_ptr<TensorImpl>> tensors_;
  std::vector<EValue> values_;
};

// Copies the one output, float32, into the caller's buffer; returns the number of values, 0 with an exception.
jint give(JNIEnv* env, const std::string& method, const std::vector<EValue>& outputs, jobject buffer) {
  if (outputs.empty() || !outputs[0].isTensor() || outputs[0].toTensor().scalar_type() != ScalarType::Float) {
    raise(env, kState, "`" + method + "` does not give float32");
    return 0;
  }
  const Tensor tensor = outputs[0].toTensor();
  const auto count = static_cast<int64_t>(tensor.numel());
  void* target = env->GetDirectBufferAddress(buffer);
  if (target == nullptr || env->GetDirectBufferCapacity(buffer) < count) {
    raise(env, kArgument,
          "`" + method + "` gives " + number(count) + " values: the output is no direct buffer with room for them");
    return 0;
  }
  std::memcpy(target, tensor.const_data_ptr<float>(), static_cast<std::size_t>(count) * sizeof(float));
  return static_cast<jint>(count);
}

}  // namespace

extern "C" {

JNIEXPORT jlong JNICALL Java_org_hydramobile_runtime_et_Native_load(JNIEnv* env, jclass, jstring path, jint threads) {
  std::string file;
  if (!text_of(env, path, "path", file)) return 0;
  auto* pool = get_threadpool();
  const uint32_t wanted =
      threads > 0 ? static_cast<uint32_t>(threads) : executorch::extension::cpuinfo::get_num_performant_cores();
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"
  // The pool is the process's: nothing else computes while a model is loaded.
  if (pool != nullptr && wanted > 0 && wanted != pool->get_thread_count()) pool->_unsafe_reset_threadpool(wanted);
#pragma clang diagnostic pop
  auto module = std::make_unique<Module>(file, Module::LoadMode::Mmap);
  if (const Error error = module->load(); error != Error::Ok) {
    raise(env, error, file);
    return 0;
  }
  return reinterpret_cast<jlong>(module.release());
}

JNIEXPORT jint JNICALL Java_org_hydramobile_runtime_et_Native_threads(JNIEnv*, jclass) {
  auto* pool = get_threadpool();
  return pool == nullptr ? 1 : static_cast<jint>(pool->get_thread_count());
}

JNIEXPORT jint JNICALL Java_org_hydramobile_runtime_et_Native_run(JNIEnv* env, jclass, jlong handle, jstring name,
                                                                  jobjectArray buffers, jobjectArray shapes,
                                                                  jobject output) {
  Module* module = module_of(env, handle);
  std::string method;
  if (module == nullptr || !text_of(env, name, "method", method)) return 0;
  if (output == nullptr || !env->IsInstanceOf(output, env->FindClass("java/nio/FloatBuffer"))) {
    raise(env, kArgument, "`" + method + "`: the output is no FloatBuffer");
    return 0;
  }
  const auto meta = module->method_meta(method);
  if (!meta.ok()) {
    raise(env, meta.error(), "`" + method + "`");
    return 0;
  }
  Inputs inputs(env, method, *meta);
  if (!inputs.take(buffers, shapes)) return 0;
  const auto outputs = module->execute(method, inputs.values());
  if (!outputs.ok()) {
    raise(env, outputs.error(), "`" + method + "`");
    return 0;
  }
  return give(env, method, *outputs, output);
}

JNIEXPORT void JNICALL Java_org_hydramobile_runtime_et_Native_close(JNIEnv*, jclass, jlong handle) {
  delete reinterpret_cast<Module*>(handle);
}

// Found before the one of ExecuTorch's library, which would want fbjni.
JNIEXPORT jint JNICALL JNI_OnLoad(JavaVM*, void*) { return JNI_VERSION_1_6; }

}  // extern "C"
