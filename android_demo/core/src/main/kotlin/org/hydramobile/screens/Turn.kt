/*
 * One question with everything about it, from the moment it is asked; one line of JSON each.
 */
package org.hydramobile.screens

import org.hydramobile.core.AnswerEnd
import org.hydramobile.core.Json
import org.hydramobile.core.JsonObject
import org.hydramobile.core.Timings

/** How a turn stands. The last of a turn that the app's end cut off is INTERRUPTED. */
enum class TurnEnd { RUNNING, ANSWERED, LENGTH, CONTEXT, STOPPED, FAILED, INTERRUPTED }

/** What an answer took; null: not known. Seconds, tokens a second, bytes. */
class Facts(
    val firstSeconds: Double? = null,
    val encodeSeconds: Double? = null,
    val promptSeconds: Double? = null,
    val rate: Double? = null,
    val memoryBytes: Long? = null,
) {
    companion object {
        fun of(timings: Timings, memoryBytes: Long?) = Facts(
            timings.firstTokenSeconds,
            timings.encodeSeconds,
            timings.prefillSeconds,
            timings.decodeTokensPerSecond,
            memoryBytes,
        )
    }
}

/** The model that was asked. */
class AskedModel(val name: String, val preset: String, val runtime: String)

/**
 * A turn.
 *
 * [picture]: its id in the `PictureStore`. [model]: null in records of earlier versions. [askedAt]: milliseconds since
 * 1970, 0 where not known. [told]: the facts of a record of an earlier version, as it worded them. [problem]: of one
 * that FAILED.
 */
class Turn(
    val id: String,
    val question: String,
    val picture: String? = null,
    val model: AskedModel? = null,
    val askedAt: Long = 0,
    val answer: String = "",
    val facts: Facts = Facts(),
    val told: String = "",
    val end: TurnEnd = TurnEnd.RUNNING,
    val problem: Problem? = null,
) {
    /** The same question with how it ended. */
    fun ended(end: TurnEnd, answer: String, facts: Facts = Facts(), problem: Problem? = null) =
        Turn(id, question, picture, model, askedAt, answer, facts, told, end, problem)

    fun line(): String = Json.write(
        linkedMapOf(
            "id" to id,
            "question" to question,
            "picture" to picture,
            "model" to model?.name,
            "preset" to model?.preset,
            "runtime" to model?.runtime,
            "asked" to askedAt,
            "answer" to answer,
            "first_seconds" to facts.firstSeconds,
            "encode_seconds" to facts.encodeSeconds,
            "prompt_seconds" to facts.promptSeconds,
            "tokens_per_second" to facts.rate,
            "memory_bytes" to facts.memoryBytes,
            "facts" to told,
            "end" to end.name,
            "problem" to problem?.code,
            "arguments" to problem?.arguments,
        ),
    )

    companion object {
        /** How an answer that was given ended. */
        fun endOf(end: AnswerEnd): TurnEnd = when (end) {
            AnswerEnd.STOP_TOKEN -> TurnEnd.ANSWERED
            AnswerEnd.MOST_TOKENS -> TurnEnd.LENGTH
            AnswerEnd.CONTEXT_FULL -> TurnEnd.CONTEXT
            AnswerEnd.STOPPED -> TurnEnd.STOPPED
        }

        /** A turn of a line; [otherwise]: the id of one that has none. JsonException: it is none. */
        fun of(json: JsonObject, otherwise: String): Turn {
            val model = json.text("model")?.let {
                AskedModel(it, json.text("preset").orEmpty(), json.text("runtime").orEmpty())
            }
            val end = json.text("end")
            return Turn(
                id = json.text("id") ?: otherwise,
                question = json.string("question"),
                picture = json.text("picture"),
                model = model,
                askedAt = json.number("asked")?.toLong() ?: 0,
                answer = json.string("answer"),
                facts = Facts(
                    json.number("first_seconds"),
                    json.number("encode_seconds"),
                    json.number("prompt_seconds"),
                    json.number("tokens_per_second"),
                    json.number("memory_bytes")?.toLong(),
                ),
                told = json.text("facts").orEmpty(),
                // Earlier versions kept whole answers only.
                end = TurnEnd.values().firstOrNull { it.name == end } ?: TurnEnd.ANSWERED,
                problem = json.text("problem")?.let { code ->
                    Problem(code, (json.values["arguments"] as? List<*>).orEmpty().map { "$it" })
                },
            )
        }
    }
}

/** The text with [key]; null: there is none. */
internal fun JsonObject.text(key: String): String? = values[key] as? String

/** The number with [key]; null: there is none. */
internal fun JsonObject.number(key: String): Double? = (values[key] as? Number)?.toDouble()
