/*
 * The runtimes of this flavor of the app: ExecuTorch, which a default export is for, and ONNX Runtime.
 */
package org.hydramobile.demo

import org.hydramobile.core.RuntimeFactory
import org.hydramobile.runtime.et.EtRuntime
import org.hydramobile.runtime.ort.OrtRuntime

internal val RUNTIMES = mapOf<String, RuntimeFactory>(
    EtRuntime.NAME to RuntimeFactory(EtRuntime::load),
    OrtRuntime.NAME to RuntimeFactory(OrtRuntime::load),
)

/** The builds of them that are inside. */
internal val VERSIONS = mapOf(EtRuntime.NAME to EtRuntime.VERSION, OrtRuntime.NAME to OrtRuntime.VERSION)
