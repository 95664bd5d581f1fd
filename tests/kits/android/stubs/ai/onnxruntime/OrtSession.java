package ai.onnxruntime;

public class OrtSession implements AutoCloseable {
    public Result run(java.util.Map<String, ? extends OnnxTensor> inputs) throws OrtException { return null; }
    public void close() throws OrtException {}
    public static class SessionOptions implements AutoCloseable {
    public void setIntraOpNumThreads(int threads) throws OrtException {}
    public void setInterOpNumThreads(int threads) throws OrtException {}
    public void close() {} }
    public static class Result implements AutoCloseable {
    public java.util.Optional<OnnxValue> get(String name) { return null; }
    public void close() {} } }
