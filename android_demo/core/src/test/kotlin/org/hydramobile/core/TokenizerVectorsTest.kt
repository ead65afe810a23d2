package org.hydramobile.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Test
import java.io.File

/** Ids, texts and prompts are those of the Python library. */
class TokenizerVectorsTest {
    @Test
    fun encodes() = forEach { folder, tokenizer ->
        val start = System.nanoTime()
        var count = 0
        for (line in Vectors.lines(File(folder, "texts.jsonl"))) {
            val text = if ("hex" in line) Utf8.decode(bytes(line.string("hex"))) else line.string("text")
            val ids = tokenizer.encode(text)
            assertArrayEquals("${folder.name}: ${Json.write(text)}", line.ints("ids"), ids)
            count += ids.size
        }
        val milliseconds = (System.nanoTime() - start) / 1_000_000
        println("${folder.name}: $count ids in $milliseconds ms, reading the vectors included")
    }

    @Test
    fun decodes() = forEach { folder, tokenizer ->
        for (line in Vectors.lines(File(folder, "decodes.jsonl"))) {
            val ids = line.ints("ids")
            assertEquals("${folder.name}: ${ids.asList()}", line.string("text"), tokenizer.decode(ids))
            assertEquals("${folder.name}: ${ids.asList()}", line.string("answer"), tokenizer.answer(ids))
        }
    }

    @Test
    fun streamsWholeCharactersOnly() = forEach { folder, tokenizer ->
        var compared = 0
        for (line in Vectors.lines(File(folder, "decodes.jsonl"))) {
            val text = line.string("text")
            // One broken byte makes broken what byte fallback has shown already.
            if (Utf8.REPLACEMENT in text && folder.name in setOf("llama", "metaspace", "spaces")) continue
            val stream = tokenizer.streaming()
            val shown = StringBuilder()
            for (id in line.ints("ids")) {
                val piece = stream.add(id)
                if (piece.endsWith(Utf8.REPLACEMENT)) fail("half a character at the end of ${Json.write(piece)}")
                shown.append(piece)
                if (!text.startsWith(shown)) fail("${Json.write(shown.toString())} does not begin ${Json.write(text)}")
            }
            shown.append(stream.end())
            assertEquals(text, shown.toString())
            compared++
        }
        assertTrue("only $compared streams of ${folder.name}", compared > 300)
    }

    @Test
    fun prompts() = forEach { folder, tokenizer ->
        for (line in Vectors.lines(File(folder, "prompts.jsonl"))) {
            val text = TemplateText.of(line.child("template"))
            val template = PromptTemplate(text, tokenizer, line.int("image_token_id"))
            val prompt = template.prompt(line.string("question"), line.boolean("with_image"))
            val where = "${folder.name}, ${template.text.name}: ${line.values["question"]}"
            assertArrayEquals(where, line.ints("before"), prompt.before)
            assertArrayEquals(where, line.ints("after"), prompt.after)
        }
    }

    private fun forEach(test: (File, Tokenizer) -> Unit) {
        for (folder in Vectors.tokenizers()) test(folder, Tokenizer.read(File(folder, "tokenizer.json")))
    }

    private fun bytes(hex: String) = ByteArray(hex.length / 2) { hex.substring(2 * it, 2 * it + 2).toInt(16).toByte() }
}
