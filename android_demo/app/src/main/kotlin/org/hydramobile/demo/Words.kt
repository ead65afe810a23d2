/*
 * Problems, numbers and states in the words of the app's resources.
 */
package org.hydramobile.demo

import android.content.Context
import android.widget.Toast
import org.hydramobile.core.BenchmarkFault
import org.hydramobile.core.BundleProblem
import org.hydramobile.core.GenerationProblem
import org.hydramobile.core.Manifest
import org.hydramobile.screens.AskedModel
import org.hydramobile.screens.Facts
import org.hydramobile.screens.Phase
import org.hydramobile.screens.Problem
import org.hydramobile.screens.Turn
import org.hydramobile.screens.TurnEnd

private val PROBLEMS = mapOf(
    BundleProblem.MISSING_FILE.name to R.string.problem_missing_file,
    BundleProblem.WRONG_SIZE.name to R.string.problem_altered,
    BundleProblem.WRONG_HASH.name to R.string.problem_altered,
    BundleProblem.NEWER_SCHEMA.name to R.string.problem_newer,
    BundleProblem.OLDER_SCHEMA.name to R.string.problem_older,
    BundleProblem.DAMAGED_MANIFEST.name to R.string.problem_manifest,
    BundleProblem.UNSAFE_PATH.name to R.string.problem_unsafe,
    BundleProblem.OTHER_RUNTIME.name to R.string.problem_runtime,
    BundleProblem.SEPARATE_ADAPTERS.name to R.string.problem_adapters,
    BundleProblem.WRONG_ABI.name to R.string.problem_abi,
    BundleProblem.OLD_ANDROID.name to R.string.problem_android,
    BundleProblem.TOO_LARGE.name to R.string.problem_too_large,
    BundleProblem.MEMORY_TAKEN.name to R.string.problem_memory_taken,
    BundleProblem.DISK_FULL.name to R.string.problem_disk_full,
    BundleProblem.UNREADABLE_TOKENIZER.name to R.string.problem_tokenizer,
    BundleProblem.UNREADABLE_FILE.name to R.string.problem_unreadable,
    BundleProblem.UNWRITABLE_FILE.name to R.string.problem_unwritable,
    Problem.SOURCE to R.string.problem_source,
    Problem.SOURCE_SILENT to R.string.problem_source_silent,
    Problem.ZIP_DAMAGED to R.string.problem_zip,
    GenerationProblem.CANNOT_LOAD.name to R.string.problem_load,
    GenerationProblem.EMPTY_PROMPT.name to R.string.problem_empty,
    GenerationProblem.PROMPT_TOO_LONG.name to R.string.problem_prompt_long,
    GenerationProblem.UNUSABLE_PICTURE.name to R.string.problem_picture,
    Problem.PICTURE_UNREADABLE to R.string.problem_picture,
    Problem.PICTURE_NONE to R.string.no_picture_given,
    Problem.PICTURE_FORMAT to R.string.problem_picture_format,
    Problem.PICTURE_GONE to R.string.problem_picture_gone,
    Problem.PICTURE_TOO_LARGE to R.string.problem_picture_large,
    GenerationProblem.MISUSED.name to R.string.problem_broke,
    GenerationProblem.RUNTIME_FAILED.name to R.string.problem_broke,
    BenchmarkFault.REQUESTS_UNREADABLE.name to R.string.problem_requests,
    BenchmarkFault.REQUEST_DAMAGED.name to R.string.problem_request,
    BenchmarkFault.REQUEST_TWICE.name to R.string.problem_request_twice,
    BenchmarkFault.REQUEST_OUTSIDE.name to R.string.problem_request_outside,
    BenchmarkFault.REQUEST_EMPTY.name to R.string.problem_request_empty,
    BenchmarkFault.REQUEST_TOO_LONG.name to R.string.problem_request_long,
    BenchmarkFault.REQUEST_WITHOUT_PICTURE.name to R.string.problem_request_picture,
    BenchmarkFault.OTHER_ANSWERS.name to R.string.problem_other_answers,
    BenchmarkFault.NO_ANSWER.name to R.string.problem_no_answer,
    BenchmarkFault.NOT_WRITTEN.name to R.string.problem_not_written,
    BenchmarkFault.BATCH_STOPPED.name to R.string.problem_batch_stopped,
    BenchmarkFault.BATCH_BUSY.name to R.string.problem_batch_busy,
    Problem.NO_MEMORY to R.string.problem_no_memory,
    Problem.IMPORT_LOST to R.string.problem_import_lost,
    Problem.NOT_KEPT to R.string.problem_not_kept,
    Problem.NOT_DELETED to R.string.problem_not_deleted,
)

/** Of the most that a text takes; records of other versions may have fewer. */
private const val PLACES = 3

/** [problem] for people. */
internal fun Context.worded(problem: Problem): String {
    val own = problem.arguments.ifEmpty { listOf(problem.code) }
    val isOfRuntimes = problem.code == BundleProblem.OTHER_RUNTIME.name
    val given = if (isOfRuntimes) own.map { names -> names.split(", ").joinToString { runtimeName(it) } } else own
    val text = PROBLEMS[problem.code] ?: R.string.problem_failed
    val arguments = Array(PLACES) { given.getOrElse(it) { "" } }
    return resources.getString(text, *arguments)
}

/** Three digits that count. */
internal fun Context.digits(value: Double): String {
    val places = if (value >= 100) {
        0
    } else if (value >= 10) {
        1
    } else {
        2
    }
    return String.format(resources.configuration.locales[0], "%.${places}f", value)
}

internal fun Context.seconds(value: Double): String = getString(R.string.seconds, digits(value))

internal fun Context.rate(value: Double): String = getString(R.string.rate, digits(value))

internal fun Context.size(bytes: Long): String {
    val locale = resources.configuration.locales[0]
    val mebibytes = bytes / 1048576.0
    val isLarge = mebibytes >= 1000
    val number = if (isLarge) mebibytes / 1024 else kotlin.math.ceil(mebibytes)
    val shown = String.format(locale, if (isLarge) "%.1f" else "%.0f", number)
    return if (isLarge) getString(R.string.gibibytes, shown) else getString(R.string.mebibytes, shown)
}

internal fun Context.percent(share: Double): String = getString(R.string.percent, (100 * share).toInt())

internal fun Context.runtimeName(runtime: String): String = when (runtime) {
    "onnx" -> getString(R.string.onnx_runtime)
    "executorch" -> getString(R.string.executorch)
    else -> runtime
}

/** Preset and runtime of a model, without its name. */
internal fun Context.kindOf(model: AskedModel): String =
    getString(R.string.preset_and_runtime, model.preset, runtimeName(model.runtime))

/** Size and memory of a model. */
internal fun Context.aboutModel(manifest: Manifest): String {
    val kind = getString(R.string.preset_and_runtime, manifest.preset, runtimeName(manifest.runtime))
    val onDisk = size(manifest.modelBytes)
    val needed = manifest.footprint?.let { size(org.hydramobile.core.DeviceLimits.PROCESS_BYTES + it.peak) }
    return "$kind\n" + if (needed == null) onDisk else getString(R.string.needs_memory, onDisk, needed)
}

/** The line below an answer: model, first token, speed, and how it ended where a reader would wonder. */
internal fun Context.factsOf(turn: Turn): String {
    if (turn.model == null) return turn.told
    val parts = listOfNotNull(
        turn.model?.let { getString(R.string.model_and_preset, it.name, it.preset) },
        turn.facts.firstSeconds?.let { seconds(it) },
        turn.facts.rate?.let { rate(it) },
        endOf(turn.end),
    )
    return parts.reduce { all, part -> getString(R.string.joined, all, part) }
}

/** Names and values of all that is known of an answer. */
internal fun Context.allFactsOf(turn: Turn): List<Pair<String, String>> {
    val facts: Facts = turn.facts
    val model = turn.model?.let {
        getString(R.string.model_preset_runtime, it.name, it.preset, runtimeName(it.runtime))
    }
    return listOfNotNull(
        model?.let { getString(R.string.fact_model) to it },
        facts.firstSeconds?.let { getString(R.string.fact_first) to seconds(it) },
        facts.encodeSeconds?.let { getString(R.string.fact_picture) to seconds(it) },
        facts.promptSeconds?.let { getString(R.string.fact_prompt) to seconds(it) },
        facts.rate?.let { getString(R.string.fact_rate) to digits(it) },
        facts.memoryBytes?.let { getString(R.string.fact_memory) to size(it) },
        endOf(turn.end)?.let { getString(R.string.fact_end) to it },
    )
}

private fun Context.endOf(end: TurnEnd): String? = when (end) {
    TurnEnd.STOPPED -> getString(R.string.ended_stopped)
    TurnEnd.LENGTH -> getString(R.string.ended_length)
    TurnEnd.CONTEXT -> getString(R.string.ended_context)
    else -> null
}

internal fun Context.phase(phase: Phase, isStopping: Boolean): String = getString(
    when {
        isStopping -> R.string.stopping
        phase == Phase.WAITING -> R.string.phase_waiting
        phase == Phase.CHECKING -> R.string.phase_checking
        phase == Phase.LOADING -> R.string.phase_loading
        phase == Phase.READING -> R.string.phase_reading
        else -> R.string.phase_answering
    },
)

/** The phone's heat in words. */
internal fun Context.heat(status: Int?): String = getString(
    when (status) {
        null -> R.string.thermal_unknown
        0 -> R.string.thermal_none
        1 -> R.string.thermal_light
        2 -> R.string.thermal_moderate
        else -> R.string.thermal_severe
    },
)

/** Say something that belongs to no place of a screen. */
internal fun Context.tell(text: String) = Toast.makeText(this, text, Toast.LENGTH_LONG).show()
