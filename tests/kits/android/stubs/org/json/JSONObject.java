package org.json;

public class JSONObject {
    public JSONObject(String text) throws JSONException {}
    public String getString(String name) throws JSONException { return null; }
    public double getDouble(String name) throws JSONException { return 0; }
    public JSONArray getJSONArray(String name) throws JSONException { return null; }
    public JSONObject getJSONObject(String name) throws JSONException { return null; }
    public JSONObject optJSONObject(String name) { return null; } }
