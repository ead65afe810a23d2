// What musl's and libc++'s headers name, and Android's C library or ExecuTorch's libc++ has under
// another name or not at all.

#include <functional>
#include <istream>

#include <string.h>

extern "C" int* __errno(void);
extern "C" __attribute__((visibility("hidden"))) int* __errno_location(void) { return __errno(); }

extern "C" void __assert2(const char*, int, const char*, const char*) __attribute__((noreturn));
extern "C" __attribute__((visibility("hidden"))) void __assert_fail(const char* what,
                                                                    const char* file, int line,
                                                                    const char* function) {
  __assert2(file, line, function, what);
}

extern "C" __attribute__((visibility("hidden"), no_builtin)) int bcmp(const void* a, const void* b,
                                                                      size_t count) {
  const auto* x = static_cast<const unsigned char*>(a);
  const auto* y = static_cast<const unsigned char*>(b);
  while (count-- > 0) {
    if (*x++ != *y++) return 1;
  }
  return 0;
}

namespace std {
inline namespace __ndk1 {
bad_function_call::~bad_function_call() noexcept {}
template basic_istream<char>& basic_istream<char>::seekg(pos_type);
}  // namespace __ndk1
}  // namespace std
