/*
 * The runtimes of this flavor of the app: ONNX Runtime.
 */
package org.hydramobile.demo

import org.hydramobile.core.RuntimeFactory
import org.hydramobile.runtime.ort.OrtRuntime

internal val RUNTIMES = mapOf<String, RuntimeFactory>(OrtRuntime.NAME to RuntimeFactory(OrtRuntime::load))

/** The builds of them that are inside. */
internal val VERSIONS = mapOf(OrtRuntime.NAME to OrtRuntime.VERSION)
