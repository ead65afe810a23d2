import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    compilerOptions {
        // What Android's oldest supported releases can run.
        jvmTarget = JvmTarget.JVM_1_8
        allWarningsAsErrors = true
    }
}

java {
    sourceCompatibility = JavaVersion.VERSION_1_8
    targetCompatibility = JavaVersion.VERSION_1_8
}

dependencies {
    testImplementation(libs.junit)
}

tasks.test {
    // Vectors that Python wrote; tests that need them are skipped without.
    listOf("hydra.vectors", "hydra.bundle").forEach { name ->
        System.getProperty(name)?.let { systemProperty(name, it) }
    }
}
