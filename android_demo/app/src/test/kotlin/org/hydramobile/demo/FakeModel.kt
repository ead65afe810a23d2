/*
 * A runtime for tests: it answers from a rule, waits where a test says so, and fails on request.
 */
package org.hydramobile.demo

import org.hydramobile.core.FakeRuntime
import org.hydramobile.core.RuntimeFactory
import org.hydramobile.core.VlmRuntime
import org.hydramobile.screens.BundleSource
import java.util.concurrent.CountDownLatch
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean

/** By the manifest's runtime. */
internal val FAKE_RUNTIMES: Map<String, RuntimeFactory> = listOf("onnx", "executorch").associateWith { _ ->
    RuntimeFactory { bundle, threads ->
        Model.loads.add("${bundle.folder.name} with $threads")
        Model.loading.pass()
        Model.onLoad()
        val fake = FakeRuntime(bundle.manifest) { Model.rule(it) }
        fake.onDecode = { call ->
            Model.decoding.pass()
            Model.onDecode(call)
        }
        object : VlmRuntime by fake {
            override fun encodeImage(pixels: FloatArray): FloatArray {
                Model.pictures.add(pixels)
                return fake.encodeImage(pixels)
            }

            override fun close() {
                Model.closed++
                fake.close()
            }
        }
    }
}

/** What the runtime does next, and what it was asked for. A test starts with [reset]. */
internal object Model {
    /** A door that a test closes and opens. */
    class Door {
        @Volatile
        private var latch: CountDownLatch? = null

        @Volatile
        private var free = 0

        @Volatile
        var reached = false
            private set

        /** Since it was closed. */
        @Volatile
        var passed = 0
            private set

        /** Close it for all who come after the first [letting]. */
        fun close(letting: Int = 0) {
            reached = false
            passed = 0
            free = letting
            latch = CountDownLatch(1)
        }

        fun open() {
            latch?.countDown()
            latch = null
        }

        fun pass() {
            val closed = latch
            if (closed != null && free-- <= 0) {
                reached = true
                closed.await(60, TimeUnit.SECONDS)
            }
            passed++
        }
    }

    val loading = Door()
    val decoding = Door()
    val loads: MutableList<String> = java.util.Collections.synchronizedList(ArrayList())
    val pictures: MutableList<FloatArray> = java.util.Collections.synchronizedList(ArrayList())

    /** The model in the APK; null: what its assets have. It stays when a process ends. */
    @Volatile
    var builtIn: BundleSource? = null
    val isLookedFor = AtomicBoolean()

    @Volatile
    var closed = 0

    @Volatile
    var onLoad: () -> Unit = {}

    @Volatile
    var onDecode: (Int) -> Unit = {}

    @Volatile
    var rule: (List<Int>) -> Int = FakeRuntime.mixed(60)

    /** Answers are "a" so many times from now on, then they end. */
    fun answers(tokens: Int) {
        var said = 0
        rule = { if (said++ < tokens) 0 else 2.also { said = 0 } }
    }

    /** The answer is [text], in the tokens of the made bundle; [skips]: calls before it, one for a picture. */
    fun says(text: String, skips: Int = 0) {
        var said = -skips
        val ids = text.map { LETTERS.getValue(it) }
        rule = { if (said < ids.size) ids[maxOf(0, said++)] else 2.also { said = -skips } }
    }

    /** The byte-level alphabet of the made bundle's tokenizer, by its tokens' ids. */
    val LETTERS: Map<Char, Int> by lazy {
        val plain = (33..126) + (161..172) + (174..255)
        val letters = plain.map { it.toChar() } + (0 until 256 - plain.size).map { (256 + it).toChar() }
        val ids = letters.filter { it != 'a' && it != 'b' }.withIndex().associate { (at, letter) -> letter to at + 4 }
        // A space is the alphabet's 33rd letter that cannot be printed.
        ids + mapOf('a' to 0, 'b' to 1, ' ' to ids.getValue((256 + 32).toChar()))
    }

    fun reset() {
        loading.open()
        decoding.open()
        loads.clear()
        pictures.clear()
        closed = 0
        onLoad = {}
        onDecode = {}
        rule = FakeRuntime.mixed(60)
    }
}
