package org.hydramobile.screens

import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Assert.fail
import org.junit.Rule
import org.junit.Test
import org.junit.rules.TemporaryFolder
import java.io.File

/** What outlives the process, and what was typed. */
class ConversationTest {
    @get:Rule
    val temporary = TemporaryFolder()

    @Test
    fun outlivesTheProcess() {
        val file = File(temporary.root, "conversation.jsonl")
        Conversation(file).add(Turn("Was ist \"das\"?\n", "東京 👍", "12 tokens/s"))
        Conversation(file).add(Turn("second", "", "stopped"))
        file.appendText("{\"question\": \"cut o")
        val turns = Conversation(file).turns
        assertEquals(listOf("Was ist \"das\"?\n", "second"), turns.map { it.question })
        assertEquals(listOf("東京 👍", ""), turns.map { it.answer })
        Conversation(file).clear()
        assertFalse(file.exists())
        assertEquals(0, Conversation(file).turns.size)
    }

    @Test
    fun aFileThatCannotBeWrittenKeepsTheTurnOnTheScreen() {
        val conversation = Conversation(File(temporary.root, "no/such/folder"))
        conversation.add(Turn("a", "b", "c"))
        assertEquals("b", conversation.turns.single().answer)
    }

    @Test
    fun settingsAsTyped() {
        val typed = AskSettings.of(" 4 ", "", "0,7")
        assertEquals(4, typed.threads)
        assertEquals(64, typed.mostTokens)
        assertEquals(0.7f, typed.temperature)
        assertEquals(0.7f, typed.options.sampling.temperature)
        val wrong = listOf(
            Triple("-1", "", "") to "Threads is \"-1\", expected a whole number from 0 to 64",
            Triple("", "0", "") to "Length of an answer is \"0\", expected a whole number from 1 to 4096",
            Triple("", "99999999999", "") to "\"99999999999\"",
            Triple("", "", "NaN") to "Temperature is \"NaN\", expected a number from 0 to 5",
            Triple("", "", "warm") to "\"warm\"",
        )
        for ((texts, message) in wrong) {
            try {
                AskSettings.of(texts.first, texts.second, texts.third)
                fail("expected $message")
            } catch (error: SettingsException) {
                assertTrue(error.message, error.message!!.contains(message))
            }
            assertEquals(64, AskSettings.kept(texts.first, texts.second, texts.third).mostTokens)
        }
    }
}
