package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test
import java.util.Random

/** What a tokenizer.json may hold that is not computed here is refused by name. */
class TokenizerFileTest {
    @Test
    fun unknownParts() {
        refuses("the pre-tokenizer `Whitespace`", "pre_tokenizer" to """{"type": "Whitespace"}""")
        refuses(
            "the pre-tokenizer `Punctuation`",
            "pre_tokenizer" to """{"type": "Sequence", "pretokenizers": [{"type": "Punctuation"}]}""",
        )
        refuses("the behavior `Contiguous`", "pre_tokenizer" to split("""{"String": "-"}""", "Contiguous"))
        refuses("the normalizer `NFKC`", "normalizer" to """{"type": "NFKC"}""")
        refuses(
            "the pattern `Regex`",
            "normalizer" to """{"type": "Replace", "pattern": {"Regex": "a"}, "content": ""}""",
        )
        refuses("the decoder `WordPiece`", "decoder" to """{"type": "WordPiece"}""")
        refuses("the model `WordLevel`", "model" to """{"type": "WordLevel"}""")
        refuses("the post_processor `BertProcessing`", "post_processor" to """{"type": "BertProcessing"}""")
        refuses("the prepend_scheme `last`", "pre_tokenizer" to METASPACE.replace("first", "last"))
        refuses("key `truncation` is set", "truncation" to """{"max_length": 5}""")
        refuses("key `padding` is set", "padding" to "{}")
    }

    @Test
    fun patternsThatAreNotComputed() {
        val patterns = listOf("a+?", "a++", ".", "^a", "[a-z]", "[a[b]]", "(a)", "(?=a)", "\\p{M}", "\\w", "a{", "(?:a")
        for (pattern in patterns) {
            val regex = """{"Regex": "${pattern.replace("\\", "\\\\")}"}"""
            refuses("the pattern `$pattern`", "pre_tokenizer" to split(regex, "Isolated"))
        }
    }

    @Test
    fun impossibleModels() {
        refuses("`merges[0]` has the token \"c\"", "model" to model("""[["a", "c"]]"""))
        refuses("`merges[0]` has the token \"ba\"", "model" to model("""[["b", "a"]]"""))
        refuses("`merges[1]` is no pair", "model" to model("""["a b", "a b c"]"""))
        refuses("`merges[0]` is no pair", "model" to model("""[5]"""))
        refuses("two tokens have id 1", "model" to model("[]").replace("\"b\": 1", "\"b\": 1, \"x\": 1"))
        refuses("key `b` is -1, expected a number from 0 on", "model" to model("[]").replace("\"b\": 1", "\"b\": -1"))
        refuses("`unk_token` is \"<unk>\"", "model" to model("[]", """, "unk_token": "<unk>""""))
        refuses("`dropout` is set", "model" to model("[]", """, "dropout": 0.1"""))
        refuses("`end_of_word_suffix` is set", "model" to model("[]", """, "end_of_word_suffix": "</w>""""))
        refuses("`lstrip` is set", "added_tokens" to """[{"id": 9, "content": "<x>", "lstrip": true}]""")
        refuses("\"a\" has id 9 here and 0", "added_tokens" to """[{"id": 9, "content": "a"}]""")
    }

    @Test
    fun endsForAnyText() {
        val tokenizer = tokenizer("model" to model("""["a b"]"""))
        assertArrayEquals(intArrayOf(), tokenizer.encode(""))
        assertArrayEquals("what has no id is left out", intArrayOf(2, 1), tokenizer.encode("ab\ud800 b"))
        assertEquals("ab b", tokenizer.decode(intArrayOf(2, 700, -5, 1)))
        val long = tokenizer.encode("ab".repeat(200_000))
        assertEquals(200_000, long.size)
    }

    @Test
    fun theLongestAddedTokenCounts() {
        val tokenizer = tokenizer(
            "added_tokens" to
                """[{"id": 5, "content": "<a"}, {"id": 6, "content": "<a>"}, {"id": 7, "content": "a>b", "special": true}]""",
        )
        assertArrayEquals(intArrayOf(6, 1, 5, 7), tokenizer.encode("<a>b<aa>b"))
        assertEquals("special ones are left out", "<a> b", tokenizer.decode(intArrayOf(6, 7, 1)))
    }

    @Test
    fun damagedFilesAreErrors() {
        val chance = Random(5)
        val sound = MadeBundle.TOKENIZER.toByteArray()
        var refused = 0
        repeat(5_000) {
            val bytes = sound.copyOf()
            repeat(1 + chance.nextInt(3)) { bytes[chance.nextInt(bytes.size)] = chance.nextInt(256).toByte() }
            try {
                val tokenizer = Tokenizer.parse(bytes, "damaged")
                tokenizer.decode(tokenizer.encode("a b ab<|im_start|> é😀 12"))
            } catch (_: JsonException) {
                refused++
            }
        }
        assertTrue("$refused refused", refused > 2_500)
    }

    private fun split(pattern: String, behavior: String) =
        """{"type": "Split", "pattern": $pattern, "behavior": "$behavior", "invert": false}"""

    private fun model(merges: String, more: String = "") =
        """{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": $merges$more}"""

    private fun tokenizer(vararg parts: Pair<String, String>): Tokenizer {
        val all = mapOf("model" to model("[]")) + parts
        val text = all.entries.joinToString(", ", "{", "}") { (key, value) -> "\"$key\": $value" }
        return Tokenizer.parse(text.toByteArray(), "tokenizer.json")
    }

    private fun refuses(expected: String, part: Pair<String, String>) {
        try {
            tokenizer(part)
        } catch (error: JsonException) {
            assertTrue("${error.message} lacks: $expected", expected in error.message!!)
            return
        }
        fail("accepted: $part")
    }

    private companion object {
        const val METASPACE = """{"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "split": true}"""
    }
}
