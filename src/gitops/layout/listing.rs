//! What a kustomization has to say about files that come: its list of resources.

use crate::gitops::edit::{EditError, File, Path, Selector, Value, put, remove};

/// The kustomization with these files in its `resources`, and without those that go.
pub fn listed(bytes: &[u8], come: &[String], go: &[String]) -> Result<String, EditError> {
    let list = Path::default().key("resources");
    let mut text = std::str::from_utf8(bytes).map_err(|_| EditError::NotText)?.to_owned();
    for name in go {
        let file = File::parse(text.as_bytes())?;
        let Some(Value::List(items)) = file.value(&crate::gitops::edit::Document::Only)?.at(&list) else { break };
        let index = items.iter().position(|item| item.text() == Some(name));
        if let Some(index) = index.filter(|_| !come.contains(name)) {
            let at = Selector::only(list.join(crate::gitops::edit::Segment::Index(index)));
            text = remove(&file, &at)?.text;
        }
    }
    let file = File::parse(text.as_bytes())?;
    let mut items = match file.value(&crate::gitops::edit::Document::Only)?.at(&list) {
        Some(Value::List(items)) => items.clone(),
        Some(_) | None => Vec::new(),
    };
    let new: Vec<Value> = come.iter().map(|name| Value::string(name)).filter(|name| !items.contains(name)).collect();
    if new.is_empty() {
        return Ok(text);
    }
    items.extend(new);
    Ok(put(&file, &Selector::only(list), &Value::List(items))?.text)
}
