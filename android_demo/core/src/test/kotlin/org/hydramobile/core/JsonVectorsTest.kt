package org.hydramobile.core

import org.junit.Assert.assertEquals
import org.junit.Test

/** The same texts are read and refused as by Python and the C++ runner. */
class JsonVectorsTest {
    @Test
    fun texts() {
        for (entry in Vectors.list(Vectors.file("json/texts.json"))) {
            val file = Vectors.file("json/${entry.string("file")}")
            val read = try {
                Json.parseObject(file.readBytes(), file.name)
                true
            } catch (_: JsonException) {
                false
            }
            assertEquals(entry.string("name"), entry.boolean("read"), read)
        }
    }
}
