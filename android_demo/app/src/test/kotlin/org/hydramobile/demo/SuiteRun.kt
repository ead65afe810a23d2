/*
 * The program of the tests: runs classes, prints a line for each and every failure, and its exit code says how it went.
 *
 *     SuiteRun everyday|slow CLASS[#METHOD]...
 */
package org.hydramobile.demo

import org.junit.experimental.categories.Categories
import org.junit.experimental.categories.Category
import org.junit.runner.Description
import org.junit.runner.JUnitCore
import org.junit.runner.Request
import org.junit.runner.notification.Failure
import org.junit.runner.notification.RunListener
import kotlin.system.exitProcess

/** Marks tests that are left out of the everyday run. */
interface Slow

/** See the head of the file. */
object SuiteRun {
    private class Report : RunListener() {
        var tests = 0
        var seconds = 0.0
        val failed = ArrayList<String>()
        private var begun = 0L

        override fun testStarted(description: Description) {
            begun = System.nanoTime()
        }

        override fun testFailure(failure: Failure) {
            failed.add(failure.description.displayName)
            println("FAILED ${failure.description.displayName}")
            failure.trace.lines().take(25).forEach { println("    $it") }
        }

        override fun testFinished(description: Description) {
            val took = (System.nanoTime() - begun) / 1e9
            tests++
            seconds += took
            if (took > SHOWN_SECONDS) println("    %5.1f s %s".format(took, description.displayName))
        }
    }

    @JvmStatic
    fun main(arguments: Array<String>) {
        val isSlow = arguments[0] == "slow"
        val failed = ArrayList<String>()
        var all = 0
        for (name in arguments.drop(1)) {
            val report = Report()
            val filter = Categories.CategoryFilter.categoryFilter(
                true, if (isSlow) setOf(Slow::class.java) else emptySet(),
                true, if (isSlow) emptySet() else setOf(Slow::class.java),
            )
            val kind = Class.forName(name.substringBefore('#'))
            val request = if ('#' in name) Request.method(kind, name.substringAfter('#')) else Request.aClass(kind)
            val filtered = request.filterWith(filter)
            val core = JUnitCore()
            core.addListener(report)
            val begun = System.nanoTime()
            // A class without a test of this kind is an error to JUnit.
            if ('#' in name) {
                core.run(request)
            } else if (has(request, isSlow)) {
                core.run(filtered)
            }
            val simple = name.substringAfterLast('.')
            val noun = if (report.tests == 1) "test" else "tests"
            println("%s: %d %s in %.1f s".format(simple, report.tests, noun, (System.nanoTime() - begun) / 1e9))
            all += report.tests
            failed += report.failed
        }
        if (failed.isEmpty()) println("\nALL PASSED: $all tests") else println("\n${failed.size} of $all FAILED")
        failed.forEach { println("    $it") }
        System.out.flush()
        // Threads of abandoned work may be waiting.
        exitProcess(if (failed.isEmpty()) 0 else 1)
    }

    private fun has(request: Request, isSlow: Boolean): Boolean =
        request.runner.description.let { tests(it) }.any { test ->
            val marks =
                listOf(test.getAnnotation(Category::class.java), test.testClass?.getAnnotation(Category::class.java))
            marks.any { it?.value.orEmpty().contains(Slow::class) } == isSlow
        }

    private fun Array<out kotlin.reflect.KClass<*>>?.orEmpty() = this ?: emptyArray()

    private fun tests(description: Description): List<Description> =
        if (description.isTest) listOf(description) else description.children.flatMap { tests(it) }

    private const val SHOWN_SECONDS = 3.0
}
