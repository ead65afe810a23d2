/*
 * The folder that `python -m android_demo.tools.vectors` wrote, named by the system property `hydra.vectors`.
 *
 * Without it the tests that need it are skipped, and say so.
 */
package org.hydramobile.core

import org.junit.Assert.assertTrue
import org.junit.Assume.assumeTrue
import java.io.File

internal object Vectors {
    /** A file or folder of the vectors; it has to exist once there are any. */
    fun file(name: String): File {
        val folder = System.getProperty("hydra.vectors")
        val reason = "skipped: -Dhydra.vectors=FOLDER is not set; python -m android_demo.tools.vectors writes it"
        if (folder == null) println(reason)
        assumeTrue(reason, folder != null)
        return File(folder, name).also { assertTrue("$it is missing", it.exists()) }
    }

    /** Objects of a file of lines; there are some. */
    fun lines(file: File): List<JsonObject> =
        file.readLines().map { Json.parseObject(it, file.name) }.also { assertTrue("$file is empty", it.isNotEmpty()) }

    /** Objects of a file that holds a list. */
    fun list(file: File): List<JsonObject> {
        val all = Json.parse(file.readBytes(), file.name) as List<*>
        assertTrue("$file is empty", all.isNotEmpty())
        return all.map { JsonObject.of(it, file.name) }
    }

    /** Folders of the tokenizers. */
    fun tokenizers(): List<File> =
        file("tokenizers").listFiles()!!.sorted().also { assertTrue("there are ${it.size} tokenizers", it.size >= 5) }
}
