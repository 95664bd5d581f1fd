package ai.onnxruntime;

public final class OrtEnvironment {
    public static OrtEnvironment getEnvironment() { return null; }
    public OrtSession createSession(String path, OrtSession.SessionOptions options) throws OrtException { return null; } }
