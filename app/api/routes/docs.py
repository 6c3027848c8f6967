"""``/docs``: the API's documentation as a page that loads no files from other servers."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from app.api.parts import PartsOf
from app.errors import NotFound

_FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_A_DAY = {"cache-control": "public, max-age=86400"}

PATHS = frozenset({"/docs", *(f"/docs/{name}" for name in _FILES)})

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page(request: Request) -> HTMLResponse:
    """Serve Swagger UI, with links that work behind a proxy that strips a prefix."""
    root = request.scope.get("root_path", "").rstrip("/")
    script, style, icon = (f"{root}/docs/{name}" for name in _FILES)
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title=f"{request.app.title} {request.app.version}",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
    )


@router.get("/docs/{name}")
async def file(parts: PartsOf, name: str) -> Response:
    """Serve one of the page's files.

    Raises:
        NotFound: the page has no file of that name.
    """
    if name not in _FILES:
        raise NotFound("file", name)
    found = files("fastapi_offline") / "static" / name
    return Response(await parts.files_lane().run(found.read_bytes), media_type=_FILES[name], headers=_A_DAY)
