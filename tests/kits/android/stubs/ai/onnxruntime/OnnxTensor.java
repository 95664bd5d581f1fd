package ai.onnxruntime;

public class OnnxTensor implements OnnxValue {
    public static OnnxTensor createTensor(OrtEnvironment environment, java.nio.FloatBuffer data, long[] shape) throws OrtException { return null; }
    public static OnnxTensor createTensor(OrtEnvironment environment, java.nio.DoubleBuffer data, long[] shape) throws OrtException { return null; }
    public static OnnxTensor createTensor(OrtEnvironment environment, java.nio.IntBuffer data, long[] shape) throws OrtException { return null; }
    public static OnnxTensor createTensor(OrtEnvironment environment, java.nio.LongBuffer data, long[] shape) throws OrtException { return null; }
    public static OnnxTensor createTensor(OrtEnvironment environment, java.nio.ByteBuffer data, long[] shape, OnnxJavaType type) throws OrtException { return null; }
    public java.nio.FloatBuffer getFloatBuffer() { return null; }
    public java.nio.DoubleBuffer getDoubleBuffer() { return null; }
    public java.nio.IntBuffer getIntBuffer() { return null; }
    public java.nio.LongBuffer getLongBuffer() { return null; }
    public java.nio.ByteBuffer getByteBuffer() { return null; }
    public void close() {} }
