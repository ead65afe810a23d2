package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder

/** A manifest that lacks something, or says what cannot be, is refused with the key's name. */
class ManifestTest {
    @get:Rule
    val temporary = TemporaryFolder()

    @Test
    fun eachKeyIsNeeded() {
        for (key in MadeBundle(temporary.newFolder()).manifest.keys.toList()) {
            val copy = MadeBundle(temporary.newFolder())
            copy.manifest.remove(key)
            copy.write()
            refused(copy, "key `$key` is missing".takeIf { key in SCALARS }.orEmpty())
        }
        for (group in listOf("shapes", "template", "image")) {
            for (key in MadeBundle(temporary.newFolder()).part(group).keys.toList()) {
                if (key == "answer_suffix") continue // for the exporter
                val copy = MadeBundle(temporary.newFolder())
                copy.part(group).remove(key)
                copy.write()
                refused(copy, "`$group`: key `$key` is missing")
            }
        }
    }

    @Test
    fun valuesThatCannotBe() {
        val cases = listOf<Pair<String, (MadeBundle) -> Unit>>(
            "key `hidden_size` is 0, expected 1 to" to { it.part("shapes")["hidden_size"] = 0 },
            "key `size` is 100000, expected 1 to 4096" to { it.part("image")["size"] = 100_000 },
            "expected three numbers above 0" to { it.part("image")["std"] = listOf(0.5, 0, 0.5) },
            "expected three numbers from 0 to 1" to { it.part("image")["mean"] = listOf(0.5) },
            "expected pad, crop, stretch or tiles" to { it.part("image")["fit"] = "tile" },
            "belong together" to { it.part("image")["fit"] = "tiles" },
            "`tiles` and `fit`" to { it.part("image")["tiles"] = tiles() },
            "key `rows` is 0" to { tiled(it, tiles("rows" to 0)) },
            "key `columns` is 65" to { tiled(it, tiles("columns" to 65)) },
            "`overview` is \"none\"" to { tiled(it, tiles("overview" to "none")) },
            "key `texts` has 3, expected 4" to { tiled(it, tiles("columns" to 3)) },
            "expected bicubic, bilinear" to { it.part("image")["resample"] = "nearest" },
            "expected 64 hexadecimal digits" to { it.entry("embed_tokens.onnx")["sha256"] = "12" },
            "key `bytes` is -1" to { it.entry("embed_tokens.onnx")["bytes"] = -1 },
            "`files` has 0 files with role `token_embedding`" to { it.entry("embed_tokens.onnx")["role"] = "other" },
            "more memory than numbers can hold" to {
                for (key in listOf("layers", "kv_heads", "head_dim")) it.part("shapes")[key] = 1 shl 24
            },
            "`files` is a list, expected an object" to { it.manifest["files"] = emptyList<Any>() },
        )
        for ((message, spoil) in cases) {
            val copy = MadeBundle(temporary.newFolder())
            spoil(copy)
            copy.write()
            refused(copy, message)
        }
        val made = MadeBundle(temporary.newFolder())
        made.file("manifest.json").writeText("{\"schema\": 1,")
        refused(made, "line 1, column 14: expected a key in double quotes")
        made.file("manifest.json").writeBytes(ByteArray((Manifest.MOST_BYTES + 1).toInt()))
        refused(made, "expected at most")
    }

    private fun tiles(vararg changes: Pair<String, Any>) =
        mapOf("rows" to 1, "columns" to 2, "overview" to "grid", "texts" to listOf("", "", "")) + changes

    private fun tiled(made: MadeBundle, tiles: Map<String, Any>) {
        made.part("image")["fit"] = "tiles"
        made.part("image")["tiles"] = tiles
    }

    private fun refused(made: MadeBundle, message: String) {
        try {
            Bundle.open(made.folder)
        } catch (error: BundleException) {
            assertEquals(error.message, BundleProblem.DAMAGED_MANIFEST, error.problem)
            assertTrue("${error.message} lacks: $message", message in error.message!!)
            return
        }
        fail("the bundle was opened; expected: $message")
    }

    private companion object {
        val SCALARS = setOf("schema", "target", "runtime", "stop_ids")
    }
}
