// The greedy loop on llama.cpp, asked as hydra-runner's batches are.
//
//   llama-loop MODEL.gguf CONTEXT BATCH < QUESTIONS
//
// Each line of the questions is a number of new tokens and the ids of a prompt. A prompt is read
// into an empty cache in one call; the likeliest token's ids are written as one line, which is the
// mark that a counter of instructions sees. One thread; all else is llama.cpp's default.

#include <llama.h>
#include <stdio.h>
#include <stdlib.h>

enum { kLongestPrompt = 4096 };

static void silent(enum ggml_log_level level, const char* text, void* data) { (void)level, (void)text, (void)data; }

static void fail(const char* what) {
  fprintf(stderr, "llama-loop: %s\n", what);
  exit(1);
}

static llama_token likeliest(struct llama_context* context, llama_token* tokens, int count, int vocabulary) {
  if (llama_decode(context, llama_batch_get_one(tokens, count)) != 0) fail("llama_decode failed");
  const float* logits = llama_get_logits_ith(context, -1);
  llama_token best = 0;
  for (llama_token id = 1; id < vocabulary; ++id) {
    if (logits[id] > logits[best]) best = id;
  }
  return best;
}

int main(int count, char** values) {
  if (count != 4) fail("usage: llama-loop MODEL.gguf CONTEXT BATCH < QUESTIONS");
  llama_log_set(silent, NULL);
  llama_backend_init();
  struct llama_model* model = llama_model_load_from_file(values[1], llama_model_default_params());
  if (!model) fail("the model does not load");
  struct llama_context_params parameters = llama_context_default_params();
  parameters.n_ctx = (uint32_t)atoi(values[2]);
  parameters.n_batch = parameters.n_ubatch = (uint32_t)atoi(values[3]);
  parameters.n_threads = parameters.n_threads_batch = 1;
  struct llama_context* context = llama_init_from_model(model, parameters);
  if (!context) fail("there is no context of this size");
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  printf("%s\n", llama_print_system_info());
  fflush(stdout);

  static llama_token prompt[kLongestPrompt];
  int wanted;
  while (scanf("%d", &wanted) == 1) {
    int length = 0;
    while (getchar() == ' ' && length < kLongestPrompt && scanf("%d", &prompt[length]) == 1) {
      ++length;
    }
    llama_memory_clear(llama_get_memory(context), true);
    llama_token token = likeliest(context, prompt, length, vocabulary);
    for (int made = 1; made < wanted; ++made) {
      printf("%d ", token);
      token = likeliest(context, &token, 1, vocabulary);
    }
    printf("%d\n", token);
    fflush(stdout);
  }
  llama_free(context);
  llama_model_free(model);
  return 0;
}
