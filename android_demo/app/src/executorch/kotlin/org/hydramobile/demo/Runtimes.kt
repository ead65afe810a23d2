/*
 * The runtimes of this flavor of the app: ExecuTorch.
 */
package org.hydramobile.demo

import org.hydramobile.core.RuntimeFactory
import org.hydramobile.runtime.et.EtRuntime

internal val RUNTIMES = mapOf<String, RuntimeFactory>(EtRuntime.NAME to RuntimeFactory(EtRuntime::load))

/** The builds of them that are inside. */
internal val VERSIONS = mapOf(EtRuntime.NAME to EtRuntime.VERSION)
