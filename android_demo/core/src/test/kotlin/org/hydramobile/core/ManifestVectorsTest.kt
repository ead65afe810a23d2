package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Assert.fail
import org.junit.Test
import java.io.File

/** Seals are compared as Python writes them; memory estimates equal Python's to the byte, and so does what fits. */
class ManifestVectorsTest {
    @Test
    fun footprints() {
        val folder = Vectors.file("manifests")
        for (entry in Vectors.list(File(folder, "manifests.json"))) {
            val file = File(folder, entry.string("file"))
            val found = Manifest.parse(file.readBytes(), file.name).footprint!!
            val expected = entry.child("footprint")
            assertEquals(file.name, expected.long("weights"), found.weights)
            assertEquals(file.name, expected.long("loading"), found.loading)
            assertEquals(file.name, expected.long("cache"), found.cache)
            assertEquals(file.name, expected.long("prefill"), found.prefill)
            assertEquals(file.name, expected.long("picture"), found.picture)
            assertEquals(file.name, expected.long("tokenizer"), found.tokenizer)
            assertEquals(file.name, expected.long("runtime"), found.runtime)
            assertEquals(file.name, expected.long("resting"), found.resting)
            assertEquals(file.name, expected.long("peak"), found.peak)
        }
    }

    @Test
    fun seals() {
        val file = File(Vectors.file("manifests"), "0.json")
        val whole = file.readBytes()
        val text = String(whole, Charsets.UTF_8)
        for ((old, new) in listOf("\"schema\": 1" to "\"schema\":  1", "\"fit\": \"pad\"" to "\"fit\": \"crop\"")) {
            assertEquals(true, old in text)
            altered(text.replaceFirst(old, new))
        }
        // Digits of the seal itself, and one that is none.
        val seal = text.indexOf("manifest_sha256") + "manifest_sha256\": \"".length
        for (digit in "0z") altered(text.replaceRange(seal, seal + 1, if (text[seal] == digit) "1" else "$digit"))
        // Earlier versions wrote none.
        Manifest.parse(text.replace(Regex(",\\s*\"manifest_sha256\": \"\\w*\""), "").toByteArray(), file.name)
    }

    private fun altered(text: String) {
        try {
            Manifest.parse(text.toByteArray(), "manifest.json")
        } catch (error: BundleException) {
            assertEquals(BundleProblem.DAMAGED_MANIFEST, error.problem)
            assertEquals(error.message, true, "manifest.json was altered" in error.message!!)
            return
        }
        fail("the manifest was read: $text")
    }

    @Test
    fun fits() {
        val folder = Vectors.file("manifests")
        val verdicts = HashSet<Boolean>()
        for (entry in Vectors.list(File(folder, "manifests.json"))) {
            val file = File(folder, entry.string("file"))
            val manifest = Manifest.parse(file.readBytes(), file.name)
            val device = DeviceLimits(Long.MAX_VALUE, entry.long("memory_bytes"), emptyList(), 34)
            assertEquals(entry.long("process"), DeviceLimits.PROCESS_BYTES)
            assertEquals(entry.long("usable_bytes"), device.usableBytes)
            val expected = entry.boolean("fits")
            verdicts.add(expected)
            try {
                device.require(manifest)
                if (!expected) fail("${file.name} should not fit")
            } catch (error: BundleException) {
                assertEquals(error.message, BundleProblem.TOO_LARGE, error.problem)
                assertEquals(error.message, false, expected)
            }
        }
        assertEquals("both verdicts occur", 2, verdicts.size)
    }
}
