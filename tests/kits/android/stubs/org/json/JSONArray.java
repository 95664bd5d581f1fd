package org.json;

public class JSONArray {
    public int length() { return 0; }
    public int getInt(int index) throws JSONException { return 0; }
    public long getLong(int index) throws JSONException { return 0; }
    public double getDouble(int index) throws JSONException { return 0; }
    public String getString(int index) throws JSONException { return null; }
    public JSONObject getJSONObject(int index) throws JSONException { return null; } }
