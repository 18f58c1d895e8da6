/* Starts Swagger UI. Nothing is fetched but the document, and no validator elsewhere is asked. */
"use strict";

const place = document.getElementById("swagger-ui");
const csrfToken = document.querySelector('meta[name="csrf-token"]').content;

SwaggerUIBundle({
  url: place.dataset.schema,
  domNode: place,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Unset, it would send the document's address to a validator on the internet.
  validatorUrl: null,
  // A key stays in this page alone: kept in the browser's storage, any later script of this origin could read it.
  persistAuthorization: false,
  requestInterceptor: (request) => {
    const own = new URL(request.url, location.href).origin === location.origin;
    if (own && !["GET", "HEAD", undefined].includes(request.method)) {
      request.headers["X-CSRFToken"] = csrfToken;
    }
    return request;
  },
});
