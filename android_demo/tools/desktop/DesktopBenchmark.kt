/*
 * The app's benchmark mode as a command line program on a desktop's JVM: a test device, not a part of the app.
 *
 * Arguments: folder of the bundle, file of requests, file of answers, threads. Ends with the native runner's exit
 * codes. `android_demo/tools/desktop` builds and starts it.
 */
package org.hydramobile.desktop

import org.hydramobile.core.Benchmark
import org.hydramobile.core.BenchmarkProblem
import org.hydramobile.core.Bundle
import org.hydramobile.core.DecodedPicture
import org.hydramobile.core.PictureDecoder
import org.hydramobile.core.RuntimeFactory
import org.hydramobile.runtime.et.EtRuntime
import org.hydramobile.runtime.ort.OrtRuntime
import java.io.File
import java.io.IOException
import javax.imageio.ImageIO
import kotlin.system.exitProcess

private val RUNTIMES = mapOf(
    EtRuntime.NAME to RuntimeFactory(EtRuntime::load),
    OrtRuntime.NAME to RuntimeFactory(OrtRuntime::load),
)

/** Reads pictures as the JVM does. */
internal object DesktopPictures : PictureDecoder {
    override fun decode(file: File): DecodedPicture {
        val image = ImageIO.read(file) ?: throw IOException("no format that is known")
        val argb = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
        return DecodedPicture(argb, image.width, image.height)
    }
}

fun main(arguments: Array<String>) {
    if (arguments.size != 4) {
        System.err.println("usage: BUNDLE REQUESTS ANSWERS THREADS")
        exitProcess(BenchmarkProblem.INPUT.code)
    }
    val (folder, requests, answers, threads) = arguments
    val failure = Benchmark.ending(File(answers)) {
        val bundle = Bundle.open(File(folder), runtimes = RUNTIMES.keys)
        RUNTIMES.getValue(bundle.runtime).load(bundle, threads.toInt()).use { runtime ->
            Benchmark(bundle, runtime, DesktopPictures).run(File(requests), File(answers))
        }
    }
    if (failure != null) System.err.println("error: ${failure.message}")
    // Without the destructors of the libraries, which were not made for a desktop's loader.
    Runtime.getRuntime().halt(failure?.problem?.code ?: 0)
}
