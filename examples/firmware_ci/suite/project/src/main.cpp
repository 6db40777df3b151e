// A lamp that breathes, says over HTTP what it is, and takes new firmware over the air.

#include <Arduino.h>
#include <ArduinoOTA.h>
#include <WebServer.h>
#include <WiFi.h>

#ifndef BUILD_SIGNATURE
#define BUILD_SIGNATURE "none"
#endif

static const char signature[] = "K1SIG:" BUILD_SIGNATURE;
static WebServer server(80);

void setup() {
    WiFi.begin(WIFI_NAME, WIFI_PASSWORD);
    ArduinoOTA.begin();
    server.on("/api/device/info", [] {
        String body = String("{\"build_signature\":\"") + (signature + 6) + "\",\"free_heap\":" +
                      ESP.getFreeHeap() + ",\"uptime_seconds\":" + millis() / 1000 + "}";
        server.send(200, "application/json", body);
    });
    server.begin();
}

void loop() {
    ArduinoOTA.handle();
    server.handleClient();
    analogWrite(LED_BUILTIN, 127 + 127 * sin(millis() / 1000.0));
}
