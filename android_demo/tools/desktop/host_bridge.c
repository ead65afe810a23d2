// A test device: stands in the place of Android's libonnxruntime.so and passes calls on to the library that the
// Python package brings, so that both sides of a comparison compute with the same kernels.

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void* host(const char* name) {
  static void* library;
  if (library == NULL) library = dlopen(HOST_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  void* found = library == NULL ? NULL : dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    abort();
  }
  return found;
}

const void* OrtGetApiBase(void) { return ((const void* (*)(void))host("OrtGetApiBase"))(); }

void* OrtSessionOptionsAppendExecutionProvider_CPU(void* options, int arena) {
  return ((void* (*)(void*, int))host("OrtSessionOptionsAppendExecutionProvider_CPU"))(options, arena);
}

// Android's accelerator, which the app does not ask for.
void* OrtSessionOptionsAppendExecutionProvider_Nnapi(void* options, unsigned flags) {
  (void)options;
  (void)flags;
  abort();
}
