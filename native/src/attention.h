// The two `llama::` operators of a program with fast attention, for libraries that lack them.
//
// ExecuTorch's Android library has them; its Python wheel keeps them inside of an extension that
// needs libtorch.

#pragma once

namespace hydra {

// Registers `llama::update_cache.out` and `llama::custom_sdpa.out`, where they are not registered
// yet: once a process, before a program is loaded. Throws Failure(kProgram).
void register_attention();

}  // namespace hydra
