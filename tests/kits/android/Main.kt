// Prepares the golden picture on a JVM and prints how far it is from what edgesmith prepared.
package edgesmith.app_app

import java.io.File
import java.nio.FloatBuffer

fun main(words: Array<String>) {
    val (color, mean, std) = Triple(words[2], doubles(words[3]), doubles(words[4]))
    val prepare = Preprocessor(words[0].toInt(), words[1].toInt(), color, mean, std)
    val out = FloatBuffer.allocate(prepare.channels * prepare.height * prepare.width)
    val pixels = argb(File(words[7]).readBytes())
    repeat(2) { prepare.prepare(pixels, words[6].toInt(), words[5].toInt(), out) } // the second time by kept tables
    println(maxDifference(out, numbers(File(words[8]).readBytes(), "float32")))
}

private fun doubles(text: String) = text.split(",").map { it.toDouble() }.toDoubleArray()
