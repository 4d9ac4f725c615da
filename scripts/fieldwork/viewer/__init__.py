"""The results in the browser: the answers to the page (`content`), the server (`server`) and the page (`page/`).

`page/openseadragon.min.js` and its licence are OpenSeadragon's, byte for byte as in npm's package. A new version::

    npm pack openseadragon@6.1.1
    tar -xzf openseadragon-6.1.1.tgz
    cp package/build/openseadragon/openseadragon.min.js scripts/fieldwork/viewer/page/
    cp package/LICENSE.txt scripts/fieldwork/viewer/page/openseadragon.LICENSE.txt

npm checks the package against the registry's SHA-512; `tests/browser/test_view.py` holds the SHA-256 of the file.
"""
