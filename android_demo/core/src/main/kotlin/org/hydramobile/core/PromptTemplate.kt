/*
 * The text around a question, a picture and an answer, as ids.
 *
 * The pieces are data of the bundle (`hydra_mobile/models/templates.py` describes them); this is
 * `MobileVLMProcessor.prompt`. Called once for each question.
 */
package org.hydramobile.core

/** Ids before and after the place of the image embeddings; all are [before] without a picture. */
class Prompt(val before: IntArray, val after: IntArray)

/** The pieces of a template, in the order in which they are written. */
class TemplateText(
    val name: String,
    val start: String,
    val userPrefix: String,
    val imageSuffix: String,
    val userSuffix: String,
    val answerPrefix: String,
    /** Tokenise neighbouring pieces as one string. */
    val whole: Boolean,
    /** The sequence opens with BOS. */
    val bos: Boolean,
    /** False drops the question: a picture, then its caption. */
    val questions: Boolean,
    /** Between [userPrefix] and the picture. */
    val imagePrefix: String,
    /** Before a question that follows no picture. */
    val questionLead: String,
) {
    companion object {
        /** The manifest's `template`. JsonException: a piece is missing or of another type. */
        fun of(json: JsonObject): TemplateText = TemplateText(
            name = json.string("name"),
            start = json.string("start"),
            userPrefix = json.string("user_prefix"),
            imageSuffix = json.string("image_suffix"),
            userSuffix = json.string("user_suffix"),
            answerPrefix = json.string("answer_prefix"),
            whole = json.has("whole", false),
            bos = json.has("bos", false),
            questions = json.has("questions", true),
            imagePrefix = json.piece("image_prefix"),
            questionLead = json.piece("question_lead"),
        )

        private fun JsonObject.piece(key: String) = if (key in this) string(key) else ""

        private fun JsonObject.has(key: String, otherwise: Boolean) = if (key in this) boolean(key) else otherwise
    }
}

/** A template with the tokenizer whose ids it gives; [imageToken] is the id that stands for a picture. */
class PromptTemplate(val text: TemplateText, private val tokenizer: Tokenizer, imageToken: Int) {
    private val bos = if (text.bos) tokenizer.bosIds else IntArray(0)
    private val control = ControlTokens(tokenizer, setOf(imageToken))

    /** Ids of one [question]; generation starts after them. A control token that it names is text. */
    fun prompt(question: String, withImage: Boolean): Prompt {
        val opening = listOf(text.start, text.userPrefix)
        val lead = if (withImage) "" else text.questionLead
        val shown = if (text.questions) control.asText(question) else ""
        val asked = listOf(lead + shown, text.userSuffix, text.answerPrefix)
        if (!withImage) return Prompt(bos + idsOf(opening + asked), IntArray(0))
        return Prompt(bos + idsOf(opening + text.imagePrefix), idsOf(listOf(text.imageSuffix) + asked))
    }

    /** Ids of a text of the bundle's own, what is written before a tile for example. */
    fun idsOf(text: String): IntArray = control.encode(text)

    private fun idsOf(pieces: List<String>): IntArray {
        if (text.whole) return control.encode(pieces.joinToString(""))
        val ids = IdList()
        for (piece in pieces) ids.addAll(control.encode(piece))
        return ids.toArray()
    }
}
